"""One chunk of a file, from the frame of its layer's blob."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import zstandard

from bundler.errors import IntegrityError
from bundler.format.compression import decompress
from bundler.format.content import Descriptor, Digest
from bundler.format.metadata import Layer
from bundler.format.table_reader import OpenRange
from bundler.streams import Stream, read_exactly


@dataclass(frozen=True)
class StoredLayer:
    """A layer in a store, and how to open its blob, or part of it."""

    blob: Descriptor
    layer: Layer
    open: Callable[[Descriptor], Stream]
    open_range: OpenRange
    where: str

    def chunk(self, offset: int, end: int, size: int, digest: Digest) -> bytes:
        """Return the ``size`` bytes in the frame from ``offset`` to ``end``; raises `IntegrityError` for other content."""
        with self.open_range(self.blob, offset, end - offset) as stream:
            frame = bytes(read_exactly(stream, end - offset, self.where))
        try:
            data = decompress([frame])[0] if zstandard.frame_content_size(frame) == size else b""
        except zstandard.ZstdError as error:
            raise self._damaged() from error
        if Digest.of(data) != digest:
            raise self._damaged()
        return data

    def _damaged(self) -> IntegrityError:
        return IntegrityError(
            f"{self.where}: the layer {self.blob.digest} is damaged: a file differs from the table of contents",
            hint="Make the copy again, or read the bundle from another place.",
        )
