"""A store whose deltas are read as the bundles that they make (docs/spec/delta.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bundler.bundle import Bundle, read_bundle
from bundler.delta.chunks import StoredLayer
from bundler.delta.limited_blob import LimitedBlob
from bundler.delta.rebuilt_stream import RebuiltStream
from bundler.errors import BundlerError, IntegrityError, NotFoundError, OtherCompressionError
from bundler.format import artifact, delta_manifest, strict_json
from bundler.format.compression import LIBZSTD
from bundler.format.compression_mode import Compression
from bundler.format.content import Descriptor, Digest, RangeReader
from bundler.format.delta_manifest import DeltaManifest, DeltaSource
from bundler.format.layer_reader import decompressed
from bundler.format.layer_writer import Blob
from bundler.format.metadata import Layer
from bundler.ports import Named, Store
from bundler.stores.wrapped_store import WrappedStore
from bundler.streams import BLOCK, Begun, Stream, skip

_SLACK = 16 << 20
"""Bytes that a small layer may have more in another compression."""

if TYPE_CHECKING:
    from bundler.delta.source_files import SourceFiles

FindSource = Callable[[DeltaSource], AbstractContextManager[Sequence[StoredLayer]]]
"""Finds the layers of a delta's source, which can be read during the block; raises `NotFoundError`."""


class DeltaStore(WrappedStore):
    """A store whose names may refer to deltas; other bundles are read unchanged.

    The layers of a delta's target are rebuilt each time they are opened. With ``wanted`` the inner store was opened for this
    digest, which may be that of a delta's target. An invalid delta under another name is skipped; ``warn`` is told of it.
    """

    def __init__(
        self,
        inner: Store,
        find_source: FindSource,
        wanted: Digest | None = None,
        warn: Callable[[str], object] = lambda _: None,
    ) -> None:
        super().__init__(inner)
        self._wanted = wanted
        self._warn = warn
        self._invalid: set[Digest] = set()
        self.find_source = find_source
        self._opened = ExitStack()
        self._targets: dict[Digest, _Target] = {}
        self._read: tuple[Descriptor, bytes] | None = None
        self.delta: DeltaManifest | None = None
        """The delta that the name of the store referred to when it was resolved; None for a bundle."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._opened.__exit__(kind, error, trace)

    def resolve(self) -> Descriptor:
        try:
            found = self._target(self.inner.resolve())
        except NotFoundError:
            if not (target := self._wanted_target()):
                raise
            found = target
        if not isinstance(found, _Target):
            return found
        self.delta = found.delta
        return found.descriptor

    def manifest(self, descriptor: Descriptor) -> bytes:
        if self._read and self._read[0].digest == descriptor.digest:
            return self._read[1]
        target = self._targets.get(descriptor.digest)
        return target.manifest if target else self.inner.manifest(descriptor)

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        for target in self._targets.values():
            if target.makes(blob):
                stream = target.open(blob)
                skip(stream, begun.size if begun else 0)
                return stream
        return self.inner.open(blob, begun)

    def open_range(self, blob: Descriptor, offset: int, size: int) -> Stream:
        for target in self._targets.values():
            if target.makes(blob):
                stream = target.open(blob)
                skip(stream, offset)
                return RangeReader(stream, blob, size, self.where)
        return self.inner.open_range(blob, offset, size)

    def has_made(self, blob: Descriptor) -> bool:
        return any(blob.digest in target.made for target in self._targets.values())

    def makes(self, blob: Descriptor) -> bool:
        return any(target.makes(blob) for target in self._targets.values())

    def recompressed(self, manifest: Descriptor, new_blob: Callable[[], Blob]) -> Iterator[Descriptor]:
        return self._targets[manifest.digest].recompressed(new_blob)

    def names(self) -> Sequence[Named]:
        return [self._named(named) for named in self.inner.names()]

    def _wanted_target(self) -> _Target | None:
        """Return the wanted bundle if a delta makes it."""
        for named in self.inner.names() if self._wanted else ():
            if found := self._valid_target(named, self._wanted):
                return found
        return None

    def _named(self, named: Named) -> Named:
        found = self._valid_target(named)
        return Named(named.name, found.descriptor) if found else named

    def _valid_target(self, named: Named, wanted: Digest | None = None) -> _Target | None:
        """Return the target of a valid delta, or only the ``wanted`` one; None for all else."""
        try:
            found = self._target(named.manifest)
            if not isinstance(found, _Target) or wanted not in (None, found.delta.target):
                return None
            return found if found.manifest else None
        except IntegrityError as error:
            if named.manifest.digest not in self._invalid:
                self._invalid.add(named.manifest.digest)
                self._warn(f"skipped {named.name or named.manifest.digest}: {error.message}")
            return None

    def _target(self, manifest: Descriptor) -> Descriptor | _Target:
        """Return the target of a delta, or any other manifest as it is."""
        if manifest.media_type != artifact.MANIFEST or manifest.artifact_type == artifact.BUNDLE:
            return manifest
        data = self.inner.manifest(manifest)
        self._read = manifest, data
        if not delta_manifest.is_delta(data):
            return manifest
        delta = delta_manifest.read(data, self.where)
        self.rereadable, self.parallel = False, 1  # each layer takes time, and all cores
        target = _Target(delta, self.inner, lambda source: self.find_source(source), self._opened)
        return self._targets.setdefault(delta.target, target)


@dataclass(frozen=True)
class _Rebuilding:
    """What the layers of a target are rebuilt from."""

    layers: Sequence[StoredLayer]
    files: SourceFiles


class _Target:
    """The bundle that a delta makes."""

    def __init__(self, delta: DeltaManifest, inner: Store, find_source: FindSource, opened: ExitStack) -> None:
        self.delta = delta
        self._inner = inner
        self._find_source = find_source
        self._opened = opened
        self._failure: BundlerError | None = None
        self.made: set[Digest] = set()
        """The layers that were rebuilt to their ends."""
        self._compressed_otherwise: set[Digest] = set()
        """Layers that did not become what they are when frames of the source were copied."""

    @cached_property
    def manifest(self) -> bytes:
        """The verified bytes of the target's manifest."""
        strict_json.check_size(self.delta.target_manifest.size, f"{self._inner.where}: the manifest")
        with self._inner.open(self.delta.target_manifest) as stream:
            data = delta_manifest.decompressed(stream.read(), self.delta.target, self._inner.where)
        delta_manifest.check_target(self.delta, artifact.read(data, self._inner.where), self._inner.where)
        return data

    @cached_property
    def descriptor(self) -> Descriptor:
        return Descriptor.of(artifact.MANIFEST, self.manifest)

    def makes(self, blob: Descriptor) -> bool:
        """Whether a blob is a layer of the target that is not in the delta as it is."""
        return blob.media_type == artifact.LAYER and blob.digest not in self.delta.whole and blob.digest in self._layers

    def open(self, blob: Descriptor) -> Stream:
        """Open a layer that the delta makes; raises `NotFoundError` without the source."""
        same = self._same(blob)
        if same and same.blob.digest == blob.digest:
            return same.open(blob)

        def produce(made: Blob) -> None:
            copies_frames = self._copies_frames(blob)
            if self._rebuild(blob, made, copies_frames=copies_frames).digest != blob.digest:
                self._compressed_otherwise.add(blob.digest)
                raise self._other_frames(blob) if copies_frames and self._is_same_libzstd(blob) else self._other_compression(blob)
            self.made.add(blob.digest)

        return RebuiltStream(blob, produce)

    def recompressed(self, new_blob: Callable[[], Blob]) -> Iterator[Descriptor]:
        """Make a blob of each layer of the target, in the compression of this program; raises `IntegrityError`.

        As two versions of libzstd do not differ much, a blob that is far larger than that of the target is refused.
        """
        for blob in self._bundle.manifest.layers:
            made = LimitedBlob(new_blob(), 4 * blob.size + _SLACK, f"{self._inner.where}: the layer {blob.digest}")
            yield self._rebuild(blob, made) if self.makes(blob) else self._copy(blob, made)

    def _copy(self, blob: Descriptor, made: Blob) -> Descriptor:
        try:
            with self._inner.open(blob) as content:
                while data := content.read(BLOCK):
                    made.write(data)
        except BaseException:
            made.discard()
            raise
        return replace(made.finish(blob.media_type), annotations=blob.annotations)

    def _copies_frames(self, blob: Descriptor) -> bool:
        """Whether all layers of the source were compressed as this one, by their records; a wrong one is found by the digest."""
        compression = self._layers[blob.digest].compression
        alike = all(it.layer.compression == compression for it in self._source.layers)
        return compression is not None and alike and blob.digest not in self._compressed_otherwise

    def _rebuild(self, blob: Descriptor, made: Blob, *, copies_frames: bool = False) -> Descriptor:
        """Write a layer into a new blob, with the recorded compression."""
        layer, where = self._layers[blob.digest], self._inner.where
        mode = Compression.named(layer.compression.mode if layer.compression else "")
        from bundler.delta import layer_rebuild  # needs numpy, which is slow to import

        if same := self._same(blob):
            with same.open(same.blob) as content, decompressed(content, same.layer, where) as tar_stream:
                return layer_rebuild.repack(tar_stream, layer, made, mode, where)
        if diff := self.delta.diffs.get(blob.digest):
            with self._inner.open(diff) as content:
                return layer_rebuild.rebuild(content, self._source.files, layer, made, mode, where, copies_frames=copies_frames)
        raise IntegrityError(f"{where}: neither the delta nor its source has the layer {blob.digest}")

    def _same(self, blob: Descriptor) -> StoredLayer | None:
        """Return the layer of the source with the content of a target's layer."""
        diff_id = self._layers[blob.digest].diff_id
        return next((it for it in self._source.layers if it.layer.diff_id == diff_id), None)

    def _is_same_libzstd(self, blob: Descriptor) -> bool:
        recorded = self._layers[blob.digest].compression
        return recorded is not None and recorded.libzstd == LIBZSTD

    def _other_frames(self, blob: Descriptor) -> IntegrityError:
        return IntegrityError(
            f"{self._inner.where}: the layer {blob.digest} has another digest with frames of its source: "
            "a layer was compressed otherwise than its bundle records",
            hint="Run the command again with a whole copy of the bundle.",
        )

    def _other_compression(self, blob: Descriptor) -> OtherCompressionError:
        recorded = self._layers[blob.digest].compression
        was = f"libzstd {recorded.libzstd}" if recorded else "an unknown version of libzstd"
        return OtherCompressionError(
            f"{self._inner.where}: the layer {blob.digest} was rebuilt exactly, but its blob has another digest: "
            f"it was compressed by {was}, and this program has libzstd {LIBZSTD}",
            hint="Copy the whole bundle, or use the version of fps-bundle that pushed it.",
        )

    @cached_property
    def _bundle(self) -> Bundle:
        return read_bundle(_TargetOnly(self._inner, self.manifest), self.descriptor)

    @cached_property
    def _layers(self) -> dict[Digest, Layer]:
        layers = zip(self._bundle.manifest.layers, self._bundle.metadata.layers, strict=True)
        return {blob.digest: layer for blob, layer in layers}

    @property
    def _source(self) -> _Rebuilding:
        """What the layers are rebuilt from; a failure to find it is final, as each link of a chain would try again."""
        if self._failure:
            raise self._failure
        try:
            return self._found
        except BundlerError as error:
            self._failure = error
            raise

    @cached_property
    def _found(self) -> _Rebuilding:
        from bundler.delta.source_files import SourceFiles

        layers = self._opened.enter_context(self._find_source(self.delta.source))
        return _Rebuilding(layers, self._opened.enter_context(SourceFiles(layers)))


class _TargetOnly(WrappedStore):
    """The store of a delta, with the target's manifest."""

    def __init__(self, inner: Store, data: bytes) -> None:
        super().__init__(inner)
        self._data = data

    def manifest(self, descriptor: Descriptor) -> bytes:
        del descriptor
        return self._data
