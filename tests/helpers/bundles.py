"""Small bundles for tests, made by the program's own parts."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fakes import PLATFORM, MemoryStore, RecordingProgress, Tree, directory, file, tree

from bundler.bundle import Bundle, read_bundle
from bundler.concurrency.pipeline import Pipeline
from bundler.format import artifact, image
from bundler.format import metadata as meta
from bundler.format.compression_mode import Compression
from bundler.format.content import Descriptor, Digest
from bundler.format.metadata import Metadata
from bundler.format.pack import Packer
from bundler.ports import Store
from bundler.stores.layout.store import LayoutStore
from bundler.verbs import verify

BASE = meta.Base(
    names=("model:1.0",),
    repo_digests=(),
    image_id="sha256:1",
    platform=PLATFORM,
    diff_ids=(Digest.of(b"layer 0"), Digest.of(b"layer 1")),
    chain_id=image.chain_id((Digest.of(b"layer 0"), Digest.of(b"layer 1"))),
    config={"Cmd": ["serve"], "Env": ["A=1"], "Labels": {artifact.TITLE: "Model"}},
)


class MemoryBlob:
    """A blob for a `MemoryStore`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def settle(self) -> None:
        """Memory has nothing to wait for."""

    def finish(self, media_type: str) -> Descriptor:
        descriptor = Descriptor.of(media_type, bytes(self._data))
        self._store.blobs[descriptor.digest] = bytes(self._data)
        return descriptor

    def discard(self) -> None:
        self._data.clear()


def pack(
    store: MemoryStore,
    files: Tree,
    exports: list[str],
    removed: tuple[str, ...] = (),
    base_layers: int = 2,
    compression: Compression = Compression.AUTO,
) -> tuple[Packer, list[Descriptor], list[meta.Layer]]:
    """Pack a tree as a capture would."""
    from bundler.format import paths

    packer = Packer(lambda: MemoryBlob(store), exports, base_layers, Pipeline(), compression)
    for path in sorted(files, key=paths.sort_key):
        entry, data = files[path]
        if any(paths.is_within(path, export) for export in exports):
            packer.add(entry, io.BytesIO(data))
        elif any(paths.is_within(export, path) for export in exports):
            packer.add_parent(entry)
    for path in removed:
        packer.remove(path)
    return packer, *packer.finish()


def metadata(layers: list[meta.Layer], **changes: Any) -> Metadata:
    values: dict[str, Any] = {
        "created": "2026-01-02T03:04:05Z",
        "tool": meta.Tool(name="fps-bundle", version="0"),
        "source": meta.Source(engine="Fake 1", container_name="detector", container_id="c" * 64),
        "model": meta.Model(title="Model", version="1.0"),
        "base": BASE,
        "image": {"Cmd": ["serve"], "Labels": {artifact.TITLE: "Model", "mine": "yes"}},
        "exports": (meta.Export(path="/s", resolved="/s", kind="directory", entries=2, size=4, volume=False),),
        "layers": tuple(layers),
        "parents": (),
    }
    return Metadata(**{**values, **changes})


def exports(packer: Packer) -> tuple[meta.Export, ...]:
    """The exports as they were counted."""
    return tuple(
        meta.Export(path=top, resolved=top, kind=count.kind, entries=count.entries, size=count.size, volume=False)
        for top, count in packer.counts.items()
    )


def parents(packer: Packer) -> tuple[meta.Parent, ...]:
    """The directories above the exports."""
    return tuple(
        meta.Parent(path=path, mode=entry.mode, uid=entry.uid, gid=entry.gid) for path, entry in sorted(packer.parents.items())
    )


def bundle(
    store: MemoryStore, files: Tree | None = None, name: str = "1", tops: Sequence[str] = ("/s",), **changes: Any
) -> Descriptor:
    """Put a bundle of what lies at ``tops`` into a store; gives its manifest's descriptor."""
    packer, descriptors, layers = pack(store, files or tree(file("/s/f")), list(tops), changes.get("removed", ()))
    described = metadata(layers, **{"exports": exports(packer), "parents": parents(packer), **changes})
    data = described.to_bytes()
    config = Descriptor.of(artifact.CONFIG, data)
    manifest = artifact.build(described, config, descriptors)
    store.blobs |= {config.digest: data, manifest.descriptor.digest: manifest.data}
    store.tags[name] = manifest.descriptor
    return manifest.descriptor


def with_layers(store: MemoryStore, layers: Sequence[Descriptor]) -> Bundle:
    """The bundle of a store with other layers in its manifest."""
    found = read_bundle(store)
    return Bundle(artifact.build(found.metadata, found.manifest.config, layers), found.metadata)


def without_tables(store: MemoryStore) -> Bundle:
    """The bundle of a store as an older program would have written it."""
    return with_layers(store, [replace(layer, annotations={}) for layer in read_bundle(store).manifest.layers])


def noise(size: int, seed: int = 1) -> MemoryStore:
    """A store with one bundle, of a file of so many bytes that cannot be compressed."""
    store = MemoryStore()
    bundle(store, tree(file("/s/f", random.Random(seed).randbytes(size))))
    return store


class _Noise:
    """So many bytes that cannot be compressed, of which none is kept."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._random = random.Random(size)

    def read(self, size: int = -1, /) -> bytes:
        data = self._random.randbytes(min(size if size >= 0 else self._left, self._left))
        self._left -= len(data)
        return data


def large(store: LayoutStore, size: int) -> Digest:
    """Put a bundle of one file of so many bytes into a layout, without having it in memory; gives its digest."""
    packer = Packer(store.new_blob, ["/s"], 2, Pipeline())
    packer.add(directory("/s")[0], io.BytesIO())
    packer.add(replace(file("/s/f")[0], size=size), _Noise(size))
    descriptors, layers = packer.finish()
    content = metadata(layers, exports=exports(packer))
    blob = store.new_blob()
    blob.write(content.to_bytes())
    manifest = artifact.build(content, blob.finish(artifact.CONFIG), descriptors)
    with store.upload("1") as upload:
        upload.add(manifest.descriptor, manifest.data)
        upload.commit(manifest.descriptor)
    return manifest.descriptor.digest


def verified(store: Store) -> Digest:
    """Read a bundle to its last byte; gives its digest."""
    found = read_bundle(store)
    verify.verify(found, store, RecordingProgress())
    return found.digest
