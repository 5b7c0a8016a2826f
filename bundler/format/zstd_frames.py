"""The frames of a zstd stream (RFC 8878, section 3.1), checked before they are decompressed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bundler.errors import IntegrityError
from bundler.format.toc import CHUNK, SKIPPABLE
from bundler.streams import Readable

MAX_WINDOW = 128 << 20
"""Largest window that is accepted, in bytes: the memory that a reader needs."""
MAX_BLOCK = 128 << 10
"""Largest content of a block, in bytes (RFC 8878, section 3.1.1.2.4)."""

_MAGIC = b"\x28\xb5\x2f\xfd"
_RLE, _RESERVED = 1, 3
_READ = 4 << 20
_CHECKSUM = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame from ``offset`` of its blob on, whose content has ``size`` bytes, at most `CHUNK`; or part of a longer one.

    A part has a ``size`` of None; the parts of a frame follow each other, and the first one says so.
    """

    offset: int
    data: bytes
    size: int | None
    is_first: bool = True

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


class Frames:
    """Iterate over the zstd frames of a blob, and refuse frames that a layer never has.

    Each frame has a checksum, needs no dictionary and no more than `MAX_WINDOW`; nothing stands between frames, and behind
    them only what begins as a skippable frame, which `tail` gives; there are no more than ``most`` frames and blocks.
    ``what`` is the subject of what an error says. All raise `IntegrityError`.
    """

    def __init__(self, source: Readable, most: int, what: str) -> None:
        self._source = source
        self._what = what
        self._left_pieces = most
        self._buffer = b""
        self._base = 0  # where in the blob the buffer begins
        self._at = 0  # where the frame, or the part of one, begins that is looked at

    def __iter__(self) -> Iterator[Frame]:
        while (magic := self._magic()) == _MAGIC:
            yield from self._frame()
        if magic and magic != SKIPPABLE:
            raise self._refused("has bytes before, between or behind its zstd frames")

    @property
    def end(self) -> int:
        """The offset at which the last frame ended."""
        return self._at

    def tail(self) -> Iterator[bytes]:
        """The bytes behind the last frame."""
        yield self._buffer[self._at - self._base :]
        while data := self._source.read(_READ):
            yield data

    def _magic(self) -> bytes:
        """The first bytes of the next frame; none at the end of the stream."""
        if self._at == self._base + len(self._buffer):
            self._buffer, self._base = self._source.read(_READ), self._at
            if not self._buffer:
                return b""
        return self._bytes(self._at, 4)

    def _frame(self) -> Iterator[Frame]:
        self._count()
        begin = self._at
        position, size = self._header(begin)
        if size is not None and 0 < size <= CHUNK:
            end = self._end_of_whole(position, size + (size >> 8) + MAX_BLOCK)
            yield Frame(begin, self._bytes(begin, end - begin), size)
            self._at = end
            return
        is_last = False
        while not is_last:
            position, is_last = self._block(position)
            end = position + _CHECKSUM if is_last else position
            yield Frame(self._at, self._bytes(self._at, end - self._at), None, self._at == begin)
            self._at = end

    def _end_of_whole(self, position: int, most: int) -> int:
        """Where a frame ends whose first block begins at ``position``; it takes no more than ``most`` bytes."""
        is_last = False
        while not is_last:
            position, is_last = self._block(position)
            if position - self._at > most:
                raise self._refused("has a zstd frame that is longer than its content")
        return position + _CHECKSUM

    def _header(self, begin: int) -> tuple[int, int | None]:
        """Where the first block of a frame begins, and how many bytes of content the frame promises, if any."""
        flags = self._bytes(begin + 4, 1)[0]
        if flags & 0b1011:
            raise self._refused("has a zstd frame that needs a dictionary, or uses reserved flags")
        if not flags & 0b100:
            raise self._refused("has a zstd frame without a checksum")
        single = bool(flags & 0b100000)
        position = begin + 5
        length = (1 if single else 0, 2, 4, 8)[flags >> 6]
        field = self._bytes(position + (not single), length)
        size = int.from_bytes(field, "little") + (256 if length == 2 else 0) if length else None
        window = size if single else self._window(self._bytes(position, 1)[0])
        if window is None or window > MAX_WINDOW:
            raise self._refused(f"has a zstd frame that needs {window} bytes of memory, more than {MAX_WINDOW}")
        return position + (not single) + length, size

    def _window(self, described: int) -> int:
        return (8 + (described & 7)) << (7 + (described >> 3))

    def _block(self, position: int) -> tuple[int, bool]:
        """Where a block ends, and whether it is the last one of its frame."""
        fields = int.from_bytes(self._bytes(position, 3), "little")
        kind, size = fields >> 1 & 3, fields >> 3
        if kind == _RESERVED or size > MAX_BLOCK:
            raise self._refused("has a zstd block of a reserved kind or size")
        self._count()
        return position + 3 + (1 if kind == _RLE else size), bool(fields & 1)

    def _count(self) -> None:
        """Limit frames and blocks: a stream of empty ones costs time and holds no content."""
        self._left_pieces -= 1
        if self._left_pieces < 0:
            raise self._refused("has more zstd frames and blocks than its content can need")

    def _bytes(self, start: int, size: int) -> bytes:
        """These bytes of the blob, none of them before the frame that is looked at."""
        while self._base + len(self._buffer) < start + size:
            more = self._source.read(_READ)
            if not more:
                raise self._refused("ends inside a zstd frame")
            self._buffer = self._buffer[self._at - self._base :] + more
            self._base = self._at
        return self._buffer[start - self._base : start - self._base + size]

    def _refused(self, why: str) -> IntegrityError:
        return IntegrityError(f"{self._what} {why}")
