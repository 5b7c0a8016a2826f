"""Makes the golden bundle of format version 1: ``python tests/golden/make.py --regenerate``.

``v1.tar`` holds the same, with each layer as one zstd frame and without tables of contents, as the first bundles were; it
cannot be made any more. ``v1-frames.tar`` has one more cut, behind the big file that has a link: writers made it until the
frames of a layer became a function of its tar.
A golden that changes is a format that changes: `tests/unit/format/test_golden.py` fails until that is meant.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from bundler.bundle import Bundle
from bundler.concurrency.pipeline import Pipeline
from bundler.format import artifact, image, pack, paths
from bundler.format import metadata as meta
from bundler.format.content import Digest
from bundler.format.tar import Entry, Kind
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout.store import LayoutStore
from bundler.streams import NULL_PROGRESS
from bundler.verbs.copy import copy

GOLDEN = Path(__file__).with_name("v1-cuts.tar")
EPOCH = 1_700_000_000
BIG = 4096
"""What counts as a big file here, so that a tiny bundle has a layer of its own for one."""

BASE_DIFF_IDS = (Digest.of(b"base layer 1"), Digest.of(b"base layer 2"))
BASE = meta.Base(
    names=("golden:1.0",),
    repo_digests=(f"registry.example/golden@{Digest.of(b'manifest')}",),
    image_id=str(Digest.of(b"image")),
    platform=meta.Platform(os="linux", architecture="arm64", variant="v8"),
    diff_ids=BASE_DIFF_IDS,
    chain_id=image.chain_id(BASE_DIFF_IDS),
    config={"Cmd": ["serve"], "Env": ["PATH=/bin"]},
)
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
NOT_UTF8 = paths.from_bytes(b"/opt/model/latin-\xe9")

Member = tuple[Entry, bytes]


def directory(path: str, mode: int = 0o755, mtime: int = EPOCH) -> Member:
    return Entry(path, Kind.DIRECTORY, mode, 0, 0, mtime), b""


def file(path: str, data: bytes, mode: int = 0o644, uid: int = 1000, mtime: int = EPOCH, capability: bytes = b"") -> Member:
    return Entry(path, Kind.FILE, mode, uid, uid, mtime, len(data), capability=capability), data


PARENTS = [directory("/opt", 0o750)]
MEMBERS = [
    directory("/opt/model", 0o2775),
    file("/opt/model/.hidden", b"hidden\n"),
    file("/opt/model/capable", b"#!/bin/sh\n", 0o755, capability=CAPABILITY),
    file(NOT_UTF8, b"latin-1\n"),
    directory("/opt/model/" + "long-name-" * 11),
    (Entry("/opt/model/link", Kind.SYMLINK, 0o777, 0, 0, EPOCH, target="../" * 40 + "elsewhere"), b""),
    file("/opt/model/old", b"", mtime=-1),
    file("/opt/model/setuid", b"setuid\n", 0o4755, uid=2**31 + 7),
    file("/opt/model/snow-☃", b"snow\n", mtime=2**34),
    file("/opt/model/weights.bin", bytes(range(256)) * (BIG // 256)),
    (Entry("/opt/model/weights.link", Kind.HARD_LINK, 0o644, 1000, 1000, EPOCH, target="/opt/model/weights.bin"), b""),
]
REMOVED = "/opt/model/gone"


def make(store: LayoutStore) -> Bundle:
    """Pack the fixed entries into a layout."""
    with _small_is_big(), Pipeline() as pipeline:
        packer = pack.Packer(store.new_blob, ["/opt/model"], len(BASE.diff_ids), pipeline)
        for entry, _ in PARENTS:
            packer.add_parent(entry)
        for entry, data in sorted(MEMBERS, key=lambda member: paths.sort_key(member[0].path)):
            packer.add(entry, io.BytesIO(data))
        packer.remove(REMOVED)
        descriptors, layers = packer.finish()
    count = packer.counts["/opt/model"]
    metadata = meta.Metadata(
        created="2023-11-14T22:13:20Z",
        tool=meta.Tool(name="fps-bundle", version="0.1.0"),
        source=meta.Source(engine="Docker 20.10.24", container_name="golden", container_id="c" * 64),
        model=meta.Model(
            title="Golden Model", version="1.0", vendor="Example", data_set_uuid="00000000-0000-0000-0000-000000000001"
        ),
        base=BASE,
        image={"Cmd": ["serve"], "Env": ["PATH=/bin", "LEARNED=yes"], "Labels": {"mine": "yes"}},
        exports=(
            meta.Export(
                path="/opt/model", resolved="/opt/model", kind=count.kind, entries=count.entries, size=count.size, volume=False
            ),
        ),
        layers=tuple(layers),
        parents=(meta.Parent(path="/opt", mode=0o750, uid=0, gid=0),),
        removed=(REMOVED,),
        privileged=tuple(paths.encode(path) for path in packer.privileged),
        lineage=(meta.Ancestor(digest=Digest.of(b"ancestor"), created="2023-01-01T00:00:00Z"),),
    )
    blob = store.new_blob()
    blob.write(metadata.to_bytes())
    bundle = Bundle(artifact.build(metadata, blob.finish(artifact.CONFIG), descriptors), metadata)
    with store.upload("1.0") as upload:
        upload.add(bundle.manifest.descriptor, bundle.manifest.data)
        upload.commit(bundle.manifest.descriptor)
    return bundle


@contextmanager
def _small_is_big() -> Iterator[None]:
    with patch.object(pack, "BIG", BIG):
        yield


def main() -> None:
    if sys.argv[1:] != ["--regenerate"] and GOLDEN.exists():
        sys.exit(f"{GOLDEN.name} is there; to make it anew: python {os.path.relpath(__file__)} --regenerate")
    with tempfile.TemporaryDirectory() as directory:
        store = LayoutStore(Path(directory), "1.0")
        bundle = make(store)
        copy(store, ArchiveStore(GOLDEN, "1.0"), NULL_PROGRESS, bundle)
    sys.stdout.write(f"{bundle.digest}\n")


if __name__ == "__main__":
    main()
