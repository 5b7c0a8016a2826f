"""One chunk of a file, from the frame of its layer's blob.

A chunk is not compared with its digest: the checksum of the frame finds damage, and the diff ID of what is made of it the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

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
_SMALL = 64 << 10
"""Bytes of a frame that is read together with those behind it, which most often are read next."""
_TOGETHER = 256 << 10


class _Window:
    """The part of a blob that was read last: where it begins, and its bytes."""

    def __init__(self) -> None:
        self.part = 0, b""


@dataclass(frozen=True)
class StoredLayer:
    """A layer in a store, and how to open its blob, or part of it."""

    blob: Descriptor
    layer: Layer
    open: Callable[[Descriptor], Stream]
    open_range: OpenRange
    where: str
    _window: _Window = field(default_factory=_Window, compare=False, repr=False)

    def chunk(self, offset: int, end: int, size: int) -> bytes:
        """Return the ``size`` bytes in the frame from ``offset`` to ``end``; raises `IntegrityError` without such a frame."""
        return self.content(self.frame(offset, end), size)

    def frame(self, offset: int, end: int) -> bytes:
        """Return the frame from ``offset`` to ``end``; raises `IntegrityError` where none can be."""
        length = end - offset
        if not 0 <= offset < end <= self.blob.size or length > MAX_FRAME:
            raise self._damaged()
        if length > _SMALL:
            return self._read(offset, length)
        begin, data = self._window.part
        if not begin <= offset <= end <= begin + len(data):
            begin, data = self._window.part = offset, self._read(offset, min(_TOGETHER, self.blob.size - offset))
        return data[offset - begin : end - begin]

    def content(self, frame: bytes, size: int) -> bytes:
        """Return the ``size`` bytes that a frame holds; raises `IntegrityError` for another frame."""
        try:
            if zstandard.frame_content_size(frame) == size:
                return decompress([frame])[0]
        except zstandard.ZstdError:
            pass
        raise self._damaged()

    def _read(self, offset: int, length: int) -> bytes:
        with self.open_range(self.blob, offset, length) as stream:
            data = stream.read(length)
            return data if len(data) == length else data + read_exactly(stream, length - len(data), self.where)

    def _damaged(self) -> IntegrityError:
        return IntegrityError(
            f"{self.where}: the layer {self.blob.digest} is damaged: it has not the frames that its table of contents lists",
            hint="Make the copy again, or read the bundle from another place.",
        )
