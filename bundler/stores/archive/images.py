"""Ordinary images in an OCI archive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bundler.errors import NotFoundError, StoreError
from bundler.format.artifact import BUNDLE
from bundler.format.content import Descriptor
from bundler.format.delta_manifest import DELTA
from bundler.format.oci_image import ImageManifest
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.archive.writer import ArchiveUpload
from bundler.stores.image_upload import ImageBlobs
from bundler.stores.layout import index


class ArchiveImages(ArchiveStore):
    """One name in an archive that contains images. A new image replaces the file by one with that image alone."""

    keeps_previous = False

    def resolve_image(self) -> Descriptor:
        return index.find_image(self._index()[0], self._name, self._digest, self.where)

    def current(self) -> Descriptor | None:
        """Return the only image of the file, whatever its name is."""
        self._found = None  # another process may have replaced the file
        former = self._former()
        if any(item.manifest.artifact_type in (BUNDLE, DELTA) for item in former):
            raise StoreError(f"{self.where} exists and contains a bundle", hint="Name another file for the image.")
        try:
            return index.find_image(self._index()[0], "", None, self.where) if former or self._path.exists() else None
        except NotFoundError as error:
            raise StoreError(f"{self.where} exists and is not the archive of one image", hint="Name another file.") from error

    def contains(self, blob: Descriptor) -> bool:
        return self.holds(blob)

    def shares_blobs_with(self, source: object) -> bool:
        del source
        return False

    @contextmanager
    def upload_image(self, *, resumes: bool) -> Iterator[ArchiveImageUpload]:
        del resumes  # an archive is written from its beginning
        with self.upload(self._name) as upload:
            yield ArchiveImageUpload(self, upload)


class ArchiveImageUpload(ImageBlobs):
    """The upload of an image to an archive, which is written when the image is named."""

    def __init__(self, store: ArchiveImages, upload: ArchiveUpload) -> None:
        super().__init__(upload)
        self._store = store

    def name(self, image: ImageManifest, before: Descriptor | None, previous: str) -> None:
        del previous
        self._upload.add(image.descriptor, image.data)
        index.check_unmoved(self._store.current(), before, self._store.where)
        self._upload.commit(index.as_image(image.descriptor))
