"""The frames of a zstd stream (RFC 8878, section 3.1), looked at before the decompressor gets them."""

from __future__ import annotations

from bundler.errors import IntegrityError
from bundler.format.content import Readable

MAX_WINDOW = 128 << 20
"""Largest window that is accepted, in bytes: what a reader must be ready to hold in memory."""
MAX_BLOCK = 128 << 10
"""Largest content of a block, in bytes (RFC 8878, section 3.1.1.2.4)."""

_MAGIC = b"\x28\xb5\x2f\xfd"
_RLE, _RESERVED = 1, 3


class Frames:
    """Passes a stream of zstd frames on, and refuses what a layer never has.

    Each frame has a checksum, needs no dictionary and no more than `MAX_WINDOW`; nothing stands between frames or
    behind them, skippable frames included; there are no more than ``most`` frames and blocks. ``what`` is the
    subject of what an error says.
    """

    def __init__(self, source: Readable, most: int, what: str) -> None:
        self._source = source
        self._what = what
        self._left_pieces = most
        self._left = 0  # bytes of the block that is being passed on
        self._in_frame = False
        self._last_block = False

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, rarely as many as were asked for; raises `IntegrityError`."""
        if not self._left:
            return self._next_header()
        data = self._source.read(min(size, self._left) if size >= 0 else self._left)
        if not data:
            raise self._refused("breaks off inside a zstd frame")
        self._left -= len(data)
        return data

    def _next_header(self) -> bytes:
        """What stands before the next block's content; nothing at the end of the stream."""
        if not self._in_frame:
            return self._begin_frame()
        if self._last_block:
            self._in_frame = self._last_block = False
            return self._exactly(4)  # the checksum
        return self._begin_block()

    def _begin_frame(self) -> bytes:
        first = self._source.read(1)
        if not first:
            return b""
        magic = first + self._exactly(3)
        if magic != _MAGIC:
            raise self._refused("has something before, between or behind its zstd frames")
        self._count()
        self._in_frame = True
        flags = self._exactly(1)
        if flags[0] & 0b1011:
            raise self._refused("has a zstd frame that wants a dictionary, or is of a kind that nobody has defined")
        if not flags[0] & 0b100:
            raise self._refused("has a zstd frame with no checksum")
        return magic + flags + self._window(flags[0])

    def _window(self, flags: int) -> bytes:
        """The rest of a frame's header, which says how much memory the frame takes."""
        single = bool(flags & 0b100000)
        window = b"" if single else self._exactly(1)
        length = (1 if single else 0, 2, 4, 8)[flags >> 6]
        content = self._exactly(length)
        if single:
            size = int.from_bytes(content, "little") + (256 if length == 2 else 0)
        else:
            size = (8 + (window[0] & 7)) << (7 + (window[0] >> 3))
        if size > MAX_WINDOW:
            raise self._refused(f"has a zstd frame that takes {size} bytes of memory, more than {MAX_WINDOW}")
        return window + content

    def _begin_block(self) -> bytes:
        header = self._exactly(3)
        fields = int.from_bytes(header, "little")
        kind, size = fields >> 1 & 3, fields >> 3
        if kind == _RESERVED or size > MAX_BLOCK:
            raise self._refused("has a zstd block of a kind or size that nobody has defined")
        self._count()
        self._last_block = bool(fields & 1)
        self._left = 1 if kind == _RLE else size
        return header

    def _count(self) -> None:
        """A stream of nothing but empty frames and blocks would keep its reader busy for no content at all."""
        self._left_pieces -= 1
        if self._left_pieces < 0:
            raise self._refused("has more zstd frames and blocks than its content can need")

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._source.read(size - len(data))
            if not more:
                raise self._refused("breaks off inside a zstd frame")
            data += more
        return data

    def _refused(self, why: str) -> IntegrityError:
        return IntegrityError(f"{self._what} {why}")
