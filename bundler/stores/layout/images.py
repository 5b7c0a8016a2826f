"""Ordinary images in an OCI image-layout directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bundler.errors import NotFoundError, disk_errors
from bundler.format.content import Descriptor
from bundler.format.oci_image import ImageManifest
from bundler.localfs.atomic_file import write_file
from bundler.ports import Named
from bundler.stores.image_upload import ImageBlobs
from bundler.stores.layout import index
from bundler.stores.layout.store import LayoutStore, LayoutUpload


class LayoutImages(LayoutStore):
    """One name in a layout that contains images, and perhaps bundles."""

    keeps_previous = True

    def resolve_image(self) -> Descriptor:
        return index.find_image(self._index(), self._name, self._digest, self.where)

    def current(self) -> Descriptor | None:
        with suppress(NotFoundError):
            return self.resolve_image()
        return None

    def contains(self, blob: Descriptor) -> bool:
        return self.has(blob)

    def shares_blobs_with(self, source: object) -> bool:
        del source
        return False

    @contextmanager
    def upload_image(self, *, resumes: bool) -> Iterator[LayoutImageUpload]:
        self.prepare()
        yield LayoutImageUpload(self, LayoutUpload(self, self._name, keep=resumes))

    def name_image(self, manifest: Descriptor, before: Descriptor | None, previous: str) -> None:
        """Move the name to an image that is here, unless another process has moved it since ``before``."""
        kept = [Named(previous, index.as_image(before))] if previous and before else []
        taken = {self._name, *(item.name for item in kept)}
        path = self._path / index.INDEX_FILE
        with self._locked():
            index.check_unmoved(self.current(), before, self.where)
            with disk_errors(path):
                data = self._read_index()
            new = [Named(self._name, index.as_image(manifest)), *kept]
            edited = index.edit(data, lambda item: item.name in taken, new, self.where, also_images=True)
            write_file(path, edited, self.file_mode)


class LayoutImageUpload(ImageBlobs):
    """The upload of an image to a layout."""

    def __init__(self, store: LayoutImages, upload: LayoutUpload) -> None:
        super().__init__(upload)
        self._store = store

    def name(self, image: ImageManifest, before: Descriptor | None, previous: str) -> None:
        self._upload.add(image.descriptor, image.data)
        self._store.name_image(image.descriptor, before, previous)
