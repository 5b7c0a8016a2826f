"""Archives that engines load as an image, in three dialects.

Each is a stream of bytes in which the layers of the bundle pass through; nothing is held.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, cast

import zstandard

from bundler.errors import EngineError, IntegrityError
from bundler.format import artifact, metadata, strict_json, tar, units
from bundler.format.content import Descriptor, Digest
from bundler.format.layer_reader import decompressed
from bundler.format.zstd_frames import MAX_WINDOW
from bundler.streams import BLOCK, Readable, Stream, read_exactly

MAX_SAVED = 10_000
"""Most blobs of a saved image."""
MAX_DOCUMENTS = 64 << 20
"""Most bytes in total of a saved image's small blobs, each of which may be its manifest."""

_ZSTD = b"\x28\xb5\x2f\xfd"  # the magic of a frame (RFC 8878)
_LOOK = "Look at the engine's log, then run the command again."
_INDEX_FILES = frozenset({"/manifest.json", "/repositories", "/index.json", "/oci-layout"})


@dataclass(frozen=True)
class NewLayer:
    """A verified layer for the new image; ``open`` returns its compressed bytes and checks their digest again."""

    descriptor: Descriptor
    description: metadata.Layer
    open: Callable[[], Stream]


@dataclass(frozen=True)
class NewImage:
    """An image to load: its configuration, the layers of its base, and the new layers."""

    config: bytes
    base_diff_ids: tuple[Digest, ...]
    layers: tuple[NewLayer, ...]

    @property
    def config_digest(self) -> Digest:
        return Digest.of(self.config)

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        return (*self.base_diff_ids, *(layer.description.diff_id for layer in self.layers))


@dataclass(frozen=True)
class Member:
    """One file of an archive: its name, its size, and a function that opens its content."""

    name: str
    size: int
    open: Callable[[], AbstractContextManager[Readable]]

    @property
    def header(self) -> bytes:
        return tar.encode(tar.Entry(path=f"/{self.name}", kind=tar.Kind.FILE, mode=0o644, uid=0, gid=0, mtime=0, size=self.size))


class Archive:
    """A tar that is generated while it is read; its length in bytes is known in advance, which makes uploads to engines faster."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members

    def __len__(self) -> int:
        return sum(len(it.header) + it.size + len(tar.padding(it.size)) for it in self._members) + len(tar.TRAILER)

    def __iter__(self) -> Iterator[bytes]:
        for member in self._members:
            yield member.header
            with member.open() as content:
                while block := content.read(BLOCK):
                    yield block
            yield tar.padding(member.size)
        yield tar.TRAILER


def partial_docker_archive(image: NewImage, name: str) -> Archive:
    """A ``docker save`` archive without the base's layers, for engines that find them by chain ID."""
    return _docker_archive(image, name, [f"{diff_id.hex}.tar" for diff_id in image.base_diff_ids])


def full_docker_archive(image: NewImage, name: str, saved_base: Readable) -> Iterator[bytes]:
    """A complete ``docker save`` archive: a saved image that begins with the base, followed by the new layers.

    Raises `EngineError` when what was saved has not the layers that the base has.
    """
    manifest = b""
    for entry, content in _entries(saved_base):
        if entry.path == "/manifest.json":
            manifest = content.read(min(entry.size, strict_json.MAX_SIZE))
        if entry.path not in _INDEX_FILES:
            yield tar.encode(entry)
            while block := content.read(BLOCK):
                yield block
            yield tar.padding(entry.size)
    try:
        base_layers = [layer for layer in json.loads(manifest)[0]["Layers"] if isinstance(layer, str)]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise EngineError("the engine saved the base image without a manifest.json", hint=_LOOK) from error
    count = len(image.base_diff_ids)
    if len(base_layers) < count:
        raise EngineError(f"the engine saved {units.counted(len(base_layers), 'layer')} of a base that has {count}")
    yield from _docker_archive(image, name, base_layers[:count])


def partial_oci_layout(image: NewImage, name: str, base_layers: Sequence[Descriptor]) -> Archive:
    """An OCI layout whose manifest names the base's layers, which the engine holds, but does not contain them.

    ``name`` has no registry, and no namespace.
    """
    layers = [*base_layers, *(layer.descriptor for layer in image.layers)]
    config = Descriptor.of(artifact.IMAGE_CONFIG, image.config)
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": artifact.MANIFEST,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
    )
    described = Descriptor.of(artifact.MANIFEST, manifest)
    # containerd takes a name as it is written here, and Docker finds none that it has not written in full itself.
    annotations = {"io.containerd.image.name": f"docker.io/library/{name}", artifact.REF_NAME: name.rpartition(":")[2]}
    entry = {**described.to_json(), "annotations": annotations}
    named = {"Config": _blob(config), "RepoTags": [name], "Layers": [_blob(layer) for layer in layers]}
    return Archive(
        [
            _file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
            *(Member(_blob(layer.descriptor), layer.descriptor.size, layer.open) for layer in image.layers),
            _file(_blob(config), image.config),
            _file(_blob(described), manifest),
            _file("index.json", _json({"schemaVersion": 2, "mediaType": artifact.INDEX, "manifests": [entry]})),
            _file("manifest.json", _json([named])),
        ]
    )


def layers_of_saved_oci_layout(saved: Readable, diff_ids: Sequence[Digest]) -> list[Descriptor]:
    """The layer descriptors of a saved image, all of whose blobs were saved with it.

    Raises `EngineError` when it was not saved as an OCI layout, or without one of these blobs: an engine can hold an image whose
    layers it has unpacked, and not what its manifest names. The index may come last, so every small blob is kept until it is known
    which of them is the manifest.
    """
    small: dict[str, bytes] = {}
    saved_blobs: set[str] = set()
    for entry, content in _entries(saved):
        if entry.path.startswith("/blobs/sha256/"):
            name = entry.path.rpartition("/")[2]
            saved_blobs.add(name)
            if entry.size <= strict_json.MAX_SIZE and (data := content.read()).startswith(b"{"):
                small[name] = data
        if len(saved_blobs) > MAX_SAVED or sum(map(len, small.values())) > MAX_DOCUMENTS:
            raise EngineError("the engine saved the base image with more blobs than any image has", hint=_LOOK)
    wanted = [str(diff_id) for diff_id in diff_ids]
    for data in small.values():
        try:
            manifest = strict_json.load(data, "a saved manifest")
            config = strict_json.load(small[Descriptor.from_json(manifest.get("config")).digest.hex], "a saved config")
            if config["rootfs"]["diff_ids"] == wanted:
                layers = [Descriptor.from_json(layer) for layer in manifest["layers"]]
                if all(layer.digest.hex in saved_blobs for layer in layers):
                    return layers
        except (IntegrityError, LookupError, TypeError):
            continue  # not the manifest, but a config or a small layer
    raise EngineError(
        "the engine did not save the base image with all of its layers",
        hint="Its content store may lack some. Load or pull the base again, then run the command again.",
    )


def saved_blobs(saved: Readable, wanted: Collection[Digest]) -> Iterator[tuple[Digest, Readable]]:
    """Yield the content of each wanted blob of an image that was saved as an OCI layout, by the digest in its name."""
    names = {f"/{_blob_path(digest)}": digest for digest in wanted}
    for entry, content in _entries(saved):
        if entry.kind is tar.Kind.FILE and (digest := names.pop(entry.path, None)):
            yield digest, content


def layer_tars(saved: Readable) -> Iterator[Readable]:
    """Yield the content of each file of a saved image that may be a layer, decompressed if it is zstd.

    The name of a layer depends on the form of the archive, so a caller recognises a layer by its diff ID. Reading raises
    `IntegrityError` for damaged zstd.
    """
    for entry, content in _entries(saved):
        if entry.kind is tar.Kind.FILE and entry.size:
            start = bytes(read_exactly(content, min(entry.size, len(_ZSTD))))
            whole = _Whole(start, content)
            yield _Decompressed(whole) if start == _ZSTD else whole


class _Whole:
    """A content of which the ``start`` was read already."""

    def __init__(self, start: bytes, rest: Readable) -> None:
        self._start = start
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        start, self._start = self._start, b""
        return start or self._rest.read(size)


class _Decompressed:
    def __init__(self, content: Readable) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        self._stream = decompressor.stream_reader(cast(IO[bytes], content), read_across_frames=True)

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._stream.read(size)
        except zstandard.ZstdError as error:
            raise IntegrityError(f"a saved layer is not a valid zstd stream: {error}") from error


def _docker_archive(image: NewImage, name: str, base_layers: Sequence[str]) -> Archive:
    config = f"{image.config_digest.hex}.json"
    layers = [
        Member(f"{layer.description.diff_id.hex}.tar", layer.description.size, partial(_plain, layer)) for layer in image.layers
    ]
    manifest = [{"Config": config, "RepoTags": [name], "Layers": [*base_layers, *(layer.name for layer in layers)]}]
    return Archive([_file(config, image.config), *layers, _file("manifest.json", _json(manifest))])


@contextmanager
def _plain(layer: NewLayer) -> Iterator[Readable]:
    with layer.open() as blob, decompressed(blob, layer.description, "the bundle", is_known=True) as stream:
        yield stream


def _file(name: str, data: bytes) -> Member:
    return Member(name, len(data), lambda: closing(io.BytesIO(data)))


def _blob(descriptor: Descriptor) -> str:
    return _blob_path(descriptor.digest)


def _blob_path(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _entries(saved: Readable) -> Iterator[tuple[tar.Entry, tar.Content]]:
    """The entries of an image that an engine saved."""
    try:
        yield from tar.read(saved)
    except IntegrityError as error:
        raise EngineError(f"what the engine saved of the base image is damaged: {error.message}", hint=_LOOK) from error


def _json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
