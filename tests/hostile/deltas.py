"""Forges deltas: a layout with a source and a delta, sound but for what a case changes."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard
from bundles import bundle
from fakes import MemoryStore, Tree, file, tree

from bundler.bundle import Bundle, read_bundle
from bundler.delta.tar_diff import MAGIC, Kind
from bundler.format import artifact, delta_manifest, tar
from bundler.format.content import Descriptor, Digest
from bundler.format.delta_manifest import DELTA, TAR_DIFF, TARGET_MANIFEST, DeltaSource
from bundler.format.split_manifest import EMPTY_CONTENT
from bundler.stores.layout import index
from hostile.forge import dump, packed, same

Operations = Callable[[bytes], bytes]
"""Makes the operations of a tar-diff from the tar that it should give."""

NOISE = random.Random(3).randbytes(200_000)
OLD = tree(file("/s/log", b"a line\n" * 2000), file("/s/weights", NOISE))
NEW = tree(file("/s/log", b"a line\n" * 2001), file("/s/weights", NOISE))


def operation(kind: int, number: int, content: bytes = b"") -> bytes:
    encoded = bytearray([kind])
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(encoded) + bytes([number]) + content


def opened(name: bytes) -> bytes:
    return operation(Kind.OPEN, len(name), name)


def data(content: bytes) -> bytes:
    return operation(Kind.DATA, len(content), content)


def made(files: Tree, **changes: Any) -> MemoryStore:
    """A store with one bundle."""
    store = MemoryStore()
    bundle(store, files, **changes)
    return store


def plain(files: Tree) -> bytes:
    """The tar of the layer of files below ``/s``."""
    below = sorted(item for item in files.items() if item[0] == "/s" or item[0].startswith("/s/"))
    return b"".join(packed(*member) for _, member in below) + tar.TRAILER


@dataclass
class DeltaForgery:
    """How a delta from ``old`` to ``new`` is forged, and what is done to each thing on the way."""

    old: MemoryStore = field(default_factory=lambda: made(OLD))
    new: MemoryStore = field(default_factory=lambda: made(NEW))
    operations: Operations = data
    """Those of each layer of the target; it has only one."""
    stream: Callable[[bytes], bytes] = lambda operations: MAGIC + zstandard.compress(operations)
    target_manifest: Callable[[bytes], bytes] = same
    """The compressed manifest of the target."""
    manifest: Callable[[dict[str, Any]], Any] = same
    source: bool = True
    """Whether the source is in the layout, too."""
    spoil: Callable[[Path], Any] = same

    def _source(self) -> DeltaSource:
        source = read_bundle(self.old)
        diff_ids = tuple(layer.diff_id for layer in source.metadata.layers)
        return DeltaSource(source.digest, diff_ids, f"model@{source.digest}", source.digest)

    def to_layout(self, path: Path) -> str:
        """Write it as a layout, the delta with the name ``2``; gives the reference."""
        target, source = read_bundle(self.new), read_bundle(self.old)
        blobs = {**self.new.blobs, Digest.of(EMPTY_CONTENT): EMPTY_CONTENT}
        for layer in target.manifest.layers:
            blobs.pop(layer.digest, None)
        if self.source:
            blobs |= self.old.blobs
        written = self._manifest(target, self._source(), blobs)
        named = {"1": (source.manifest.data, artifact.BUNDLE)} if self.source else {}
        write_layout(path, blobs, {**named, "2": (written, DELTA)})
        self.spoil(path)
        return f"oci:{path}:2"

    def _manifest(self, target: Bundle, source: DeltaSource, blobs: dict[Digest, bytes]) -> bytes:
        stream = self.stream(self.operations(plain(NEW)))
        compressed = self.target_manifest(delta_manifest.compressed(target.manifest))
        blobs |= {Digest.of(stream): stream, Digest.of(compressed): compressed}
        diffs = {layer.digest: Descriptor.of(TAR_DIFF, stream) for layer in target.manifest.layers}
        described = delta_manifest.build(target.manifest, Descriptor.of(TARGET_MANIFEST, compressed), source, diffs, [])
        content = json.loads(described.data)
        self.manifest(content)
        return dump(content)


def write_layout(path: Path, blobs: dict[Digest, bytes], named: dict[str, tuple[bytes, str]]) -> None:
    """Write a layout with these blobs and named manifests, each with its artifact type."""
    listed = []
    for name, (manifest, kind) in named.items():
        blobs = {**blobs, Digest.of(manifest): manifest}
        described = Descriptor.of(artifact.MANIFEST, manifest).to_json()
        listed.append({**described, "artifactType": kind, "annotations": {artifact.REF_NAME: name}})
    files = {index.blob_path(digest): content for digest, content in blobs.items()}
    files[index.LAYOUT_FILE] = index.LAYOUT_CONTENT
    files[index.INDEX_FILE] = dump({"schemaVersion": 2, "mediaType": artifact.INDEX, "manifests": listed})
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


def chain(bundles: Sequence[MemoryStore], path: Path, *, first: bool = True) -> None:
    """Write a layout with deltas from each bundle to the next one, ``1``, ``2`` and so on, and the ``first`` bundle as ``0``."""
    blobs: dict[Digest, bytes] = {Digest.of(EMPTY_CONTENT): EMPTY_CONTENT}
    named: dict[str, tuple[bytes, str]] = {}
    if first:
        blobs |= bundles[0].blobs
        named["0"] = read_bundle(bundles[0]).manifest.data, artifact.BUNDLE
    for number, (old, new) in enumerate(itertools.pairwise(bundles), 1):
        single = path.parent / f"{path.name}-{number}"
        tar_of = _tar_of(new)
        DeltaForgery(old, new, operations=lambda _, given=tar_of: data(given), source=False).to_layout(single)  # type: ignore[misc]
        for blob in (single / "blobs" / "sha256").iterdir():
            blobs[Digest(blob.name)] = blob.read_bytes()
        (entry,) = json.loads((single / index.INDEX_FILE).read_bytes())["manifests"]
        named[str(number)] = blobs[Digest.parse(entry["digest"])], DELTA
    write_layout(path, blobs, named)


def _tar_of(store: MemoryStore) -> bytes:
    (layer,) = read_bundle(store).manifest.layers
    return zstandard.ZstdDecompressor().stream_reader(store.blobs[layer.digest], read_across_frames=True).read()
