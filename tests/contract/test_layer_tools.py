"""Everybody's tools read our layers: what frames and tables they have is nobody else's concern."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, directory, file, link, tree
from faultproxy import fault_proxy
from privateengine import ensure, unmount_below

from bundler.bundle import read_bundle
from bundler.format import artifact
from bundler.format.content import Descriptor, Digest
from bundler.format.pack import BIG
from bundler.format.reference import RegistryReference
from bundler.format.tar import Entry, Kind
from bundler.format.toc import Table
from bundler.stores.registry.store import RegistryStore
from bundler.streams import from_memory
from bundler.verbs import copy

MIB = 1 << 20
NOISE = random.Random(1).randbytes(12 * MIB)
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
SMALL = file("/s/small", b"small", mtime=5)
STATE = [
    directory("/s", mode=0o2750, uid=7),
    file("/s/capable", b"x", capability=CAPABILITY, mode=0o755),
    file("/s/empty", b""),
    file("/s/large", NOISE),
    SMALL,
    file("/s/é", b"unicode"),
    (replace(SMALL[0], path="/s/twin", kind=Kind.HARD_LINK, size=0, target="/s/small"), b""),
    link("/s/to", Kind.SYMLINK, "small"),
]


def stored(*members: tuple[Entry, bytes]) -> MemoryStore:
    store = MemoryStore()
    bundle(store, tree(*members), removed=("/s/gone",), privileged=("/s/capable",))
    return store


def test_zstd_decompresses_a_layer_to_its_diff_id() -> None:
    zstd = ensure("zstd", "zstd")
    store = stored(*STATE, file("/s/big", bytes(BIG)))
    found = read_bundle(store)
    assert len(found.manifest.layers) == 2
    for layer, described in zip(found.manifest.layers, found.metadata.layers, strict=True):
        assert Table.of(layer)
        data = subprocess.run([zstd, "-d", "-c"], input=store.blobs[layer.digest], capture_output=True, check=True).stdout
        assert (Digest.of(data), len(data)) == (described.diff_id, described.size)


class Podman:
    """Podman with everything of its own, and no service."""

    def __init__(self, root: Path) -> None:
        self._program = ensure("podman", "podman")
        self._root = root
        (root / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{root}/data"\nrunroot = "{root}/run"\n'
            '[storage.options]\npull_options = {enable_partial_images = "true"}\n'
        )

    def files(self, image: str) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
        """Pull an image; gives all that a container of it has, by path."""
        self._run("pull", "--quiet", "--tls-verify=false", image)
        container = self._run("create", "--network=none", image, "x").decode().strip()
        with tarfile.open(fileobj=io.BytesIO(self._run("export", container))) as archive:
            return {f"/{info.name}".rstrip("/"): (info, _content(archive, info)) for info in archive}

    def _run(self, *arguments: str) -> bytes:
        environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(self._root / "storage.conf")}
        command = [self._program, f"--tmpdir={self._root}/tmp", "--events-backend=file", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    content = archive.extractfile(info) if info.isreg() else None
    return content.read() if content else b""


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    yield Podman(tmp_path)
    unmount_below(tmp_path)


def push_image(store: MemoryStore, target: RegistryStore, annotations: str = "io.github.containers") -> None:
    """Put an image into a registry, with the layers of a bundle as they are on a base that has ``/s/gone`` and ``/s/stays``.

    ``annotations`` are what the names of those begin with that tell of tables.
    """
    found = copy.copy(store, target, RecordingProgress()).bundle
    base = io.BytesIO()
    with tarfile.open(fileobj=base, mode="w") as archive:
        for name, kind in (("s", tarfile.DIRTYPE), ("s/gone", tarfile.REGTYPE), ("s/stays", tarfile.REGTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            archive.addfile(info)
    packed = gzip.compress(base.getvalue())
    bottom = Descriptor.of("application/vnd.oci.image.layer.v1.tar+gzip", packed)
    diff_ids = [str(Digest.of(base.getvalue())), *(str(layer.diff_id) for layer in found.metadata.layers)]
    described = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    config = json.dumps(described).encode()
    top = Descriptor.of("application/vnd.oci.image.config.v1+json", config)
    layers = [bottom.to_json(), *(layer.to_json() for layer in found.manifest.layers)]
    content = {"schemaVersion": 2, "mediaType": artifact.MANIFEST, "config": top.to_json(), "layers": layers}
    manifest = json.dumps(content).replace("io.github.containers", annotations).encode()
    image = Descriptor.of(artifact.MANIFEST, manifest)
    with target.upload("") as upload:
        upload.put(bottom, from_memory(packed))
        upload.put(top, from_memory(config))
        upload.add(image, manifest)
        upload.commit(image)


def repository(registry: str, name: str) -> RegistryStore:
    return RegistryStore(RegistryReference(registry, f"tools/{name}", "1"))


def test_podman_pulls_an_image_of_our_very_blobs(podman: Podman, registry: str) -> None:
    push_image(stored(*STATE), repository(registry, "whole"))
    found = podman.files(f"{registry}/tools/whole:1")
    assert {path for path in found if path.startswith("/s")} == {"/s/stays", *(entry.path for entry, _ in STATE)}
    for entry, data in STATE:
        info, content = found[entry.path]
        if entry.kind is not Kind.HARD_LINK:
            assert (content, info.mtime) == (data, entry.mtime)
            assert (info.mode & 0o7777, info.uid, info.gid) == (entry.mode, entry.uid, entry.gid)
    capability = found["/s/capable"][0].pax_headers["SCHILY.xattr.security.capability"]
    assert capability.encode("utf-8", "surrogateescape") == CAPABILITY
    assert found["/s/twin"][0].islnk()
    assert found["/s/to"][0].linkname == "small"


def test_podman_finds_its_way_by_our_tables(podman: Podman, registry: str) -> None:
    """Podman 4.3 knows the annotations by older names, so that it takes our layers whole unless it is told these.

    It then takes content by its digest from images that it has, and the rest by ranges; owners and times it loses.
    """
    sizes = []
    with fault_proxy(registry) as proxy:
        for name, more in (("first", b"one"), ("second", b"other")):
            state = [*STATE[:5], file("/s/more", more)]
            push_image(stored(*state), repository(registry, name), "io.containers")
            before = proxy.traffic.down
            found = podman.files(f"{proxy.address}/tools/{name}:1")
            sizes.append(proxy.traffic.down - before)
            assert {path: data for path, (_, data) in found.items() if path.startswith("/s/")} == {
                "/s/stays": b"",
                **{entry.path: data for entry, data in state[1:]},
            }
    assert sizes[0] > len(NOISE)
    assert sizes[1] < 16384
