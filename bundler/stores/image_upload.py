"""What the uploads of an image to a registry, a layout and an archive have in common."""

from __future__ import annotations

from bundler.format.content import Descriptor
from bundler.ports import Upload
from bundler.streams import Opener


class ImageBlobs:
    """The blobs of an image, on the way to a store by the store's own upload."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    @property
    def sent(self) -> int:
        return self._upload.sent

    def has(self, blob: Descriptor, source: object) -> bool:
        del source  # only a registry can take a blob from where it is
        return self._upload.has(blob)

    def reserve(self, size: int) -> None:
        self._upload.reserve(size)

    def put(self, blob: Descriptor, opened: Opener) -> None:
        self._upload.put(blob, opened)
