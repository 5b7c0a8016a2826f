"""The one verb between stores: bring a bundle from any store to any other."""

from __future__ import annotations

from dataclasses import dataclass

from bundler.errors import IntegrityError
from bundler.format import artifact, document
from bundler.format.artifact import Manifest
from bundler.format.content import Descriptor, Digest, Stream
from bundler.format.metadata import Metadata
from bundler.format.reference import image_tag
from bundler.ports import Progress, Store


@dataclass(frozen=True)
class Bundle:
    """A bundle that was found in a store, with its manifest and metadata read and verified."""

    manifest: Manifest
    metadata: Metadata

    @property
    def digest(self) -> Digest:
        return self.manifest.descriptor.digest


@dataclass(frozen=True)
class CopyResult:
    """What a copy did; sizes are in bytes."""

    bundle: Bundle
    sent: int
    skipped: int


def read_bundle(store: Store, manifest: Descriptor | None = None) -> Bundle:
    """Look a bundle up; raises `NotFoundError`, and `IntegrityError` for what is no sound bundle.

    A tag is resolved once; everything after goes by digest.
    """
    descriptor = manifest or store.resolve()
    _check_is_manifest(descriptor, store.where)
    document.check_size(descriptor.size, f"{store.where}: the manifest")
    read = artifact.read(store.manifest(descriptor), store.where)
    document.check_size(read.config.size, f"{store.where}: the metadata")
    with store.open(read.config) as stream:
        metadata = Metadata.from_bytes(stream.read(), store.where)
    if len(metadata.layers) != len(read.layers):
        raise IntegrityError(
            f"{store.where}: the metadata describes {len(metadata.layers)} layers, the manifest {len(read.layers)}"
        )
    return Bundle(read, metadata)


def copy(source: Store, target: Store, progress: Progress, bundle: Bundle | None = None) -> CopyResult:
    """Copy a bundle; in the target it appears only when all of it is there, under the digest that it has in the source."""
    bundle = bundle or read_bundle(source)
    manifest = bundle.manifest
    sent = skipped = 0
    progress.stage(f"copying to {target.where}", sum(blob.size for blob in manifest.blobs))
    with target.upload(image_tag(bundle.metadata.model.version)) as upload:
        for blob in manifest.blobs:
            if upload.has(blob):
                skipped += blob.size
                progress.advance(blob.size)
                continue
            with source.open(blob) as content:
                upload.put(blob, watched(content, progress))
            sent += blob.size
        upload.commit(manifest.descriptor, manifest.data)
    return CopyResult(bundle, sent, skipped)


def list_bundles(store: Store) -> list[tuple[str, Manifest]]:
    """The names in a store with the manifests of their bundles; what is no bundle is passed over."""
    found = []
    for named in sorted(store.names(), key=lambda item: item.name):
        data = store.manifest(named.manifest)
        if artifact.is_bundle(data):
            found.append((named.name, artifact.read(data, store.where)))
    return found


def watched(content: Stream, progress: Progress) -> Stream:
    """A stream that tells how far it was read."""
    return _Watched(content, progress)


class _Watched(Stream):
    def __init__(self, content: Stream, progress: Progress) -> None:
        self._content = content
        self._progress = progress

    def read(self, size: int = -1, /) -> bytes:
        data = self._content.read(size)
        self._progress.advance(len(data))
        return data

    def close(self) -> None:
        self._content.close()


def _check_is_manifest(descriptor: Descriptor, where: str) -> None:
    if descriptor.media_type != artifact.MANIFEST:
        raise IntegrityError(
            f"{where}: this is no bundle but {descriptor.media_type[:100]!r}", hint="Name a bundle that `fps-bundle push` made."
        )
