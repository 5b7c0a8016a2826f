"""One chunk of a file, from the frame of its layer's blob.

A chunk is not compared with its digest: the checksum of the frame finds damage, and the diff ID of what is made of it the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import zstandard

from bundler.errors import IntegrityError
from bundler.format.compression import decompress
from bundler.format.content import Descriptor
from bundler.format.metadata import Layer
from bundler.format.table_reader import OpenRange
from bundler.format.toc import CHUNK
from bundler.streams import Stream, read_exactly

MAX_FRAME = 2 * CHUNK
"""Bytes of the longest frame that is read for a chunk; zstd adds less than one byte to 200 that it cannot compress."""


@dataclass(frozen=True)
class StoredLayer:
    """A layer in a store, and how to open its blob, or part of it."""

    blob: Descriptor
    layer: Layer
    open: Callable[[Descriptor], Stream]
    open_range: OpenRange
    where: str

    def chunk(self, offset: int, end: int, size: int) -> bytes:
        """Return the ``size`` bytes in the frame from ``offset`` to ``end``; raises `IntegrityError` without such a frame."""
        length = end - offset
        if not 0 <= offset < end <= self.blob.size or length > MAX_FRAME:
            raise self._damaged()
        with self.open_range(self.blob, offset, length) as stream:
            frame = stream.read(length)
            if len(frame) < length:
                frame += read_exactly(stream, length - len(frame), self.where)
        try:
            if zstandard.frame_content_size(frame) == size:
                return decompress([frame])[0]
        except zstandard.ZstdError:
            pass
        raise self._damaged()

    def _damaged(self) -> IntegrityError:
        return IntegrityError(
            f"{self.where}: the layer {self.blob.digest} is damaged: it has not the frames that its table of contents lists",
            hint="Make the copy again, or read the bundle from another place.",
        )
