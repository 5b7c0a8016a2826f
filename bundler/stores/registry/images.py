"""Ordinary images in a registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bundler.errors import NotFoundError, StoreError
from bundler.format import artifact
from bundler.format.content import Descriptor
from bundler.format.oci_image import ImageManifest
from bundler.stores.image_upload import ImageBlobs
from bundler.stores.layout import index
from bundler.stores.registry.store import RegistryStore, RegistryUpload


class RegistryImages(RegistryStore):
    """One tag or digest of a repository that contains images."""

    keeps_previous = True

    def resolve_image(self) -> Descriptor:
        return self.resolve()

    def current(self) -> Descriptor | None:
        with suppress(NotFoundError):
            return self.resolve()
        return None

    def contains(self, blob: Descriptor) -> bool:
        return self.has(blob)

    def shares_blobs_with(self, source: object) -> bool:
        """Whether a source is in the same registry, which may mount its blobs."""
        return isinstance(source, RegistryStore) and source.reference.registry == self.reference.registry

    @contextmanager
    def upload_image(self, *, resumes: bool) -> Iterator[RegistryImageUpload]:
        del resumes  # the registry keeps the parts of an upload itself
        yield RegistryImageUpload(self)

    def keep(self, manifest: Descriptor, tag: str) -> None:
        """Give a manifest of this repository another tag."""
        self._put(tag, manifest.media_type, self.manifest(manifest))


class RegistryImageUpload(ImageBlobs):
    """The upload of an image to a repository."""

    def __init__(self, store: RegistryImages) -> None:
        self._store = store
        self._mounting = RegistryUpload(store, "")
        super().__init__(self._mounting)

    def has(self, blob: Descriptor, source: object) -> bool:
        origin = source.reference.repository if isinstance(source, RegistryStore) and self._store.shares_blobs_with(source) else ""
        return self._mounting.has_or_mounts(blob, origin)

    def name(self, image: ImageManifest, before: Descriptor | None, previous: str) -> None:
        try:
            self._upload.add(image.descriptor, image.data)
        except StoreError as error:
            if not error.hint and any(layer.media_type == artifact.LAYER for layer in image.layers):
                error.hint = "If the registry does not take zstd layers, use --layer-compression gzip."
            raise
        index.check_unmoved(self._store.current(), before, self._store.where)
        if previous and before:
            self._store.keep(before, previous)
        self._upload.commit(image.descriptor)
