"""The stream of a tar-diff (``application/vnd.tar-diff``, ``tardf1``): a tar as operations on the files of another tar.

Eight bytes of magic are followed by one zstd stream of operations. An operation is one byte for its kind, an unsigned varint
``n``, and for some kinds ``n`` bytes. Only the content of regular files of the source can be copied, by path and position;
headers and padding are sent as data.
"""

from __future__ import annotations

from enum import IntEnum
from typing import IO, Protocol, cast

import numpy as np
import zstandard

from bundler.errors import IntegrityError
from bundler.format.layer_writer import Blob
from bundler.streams import BLOCK, Readable, Stream, Writable

MAGIC = b"tardf1\n\0"
MAX_NAME = 4096
"""Bytes of the longest name, as in other readers of this stream."""
MAX_WINDOW = 32 << 20
"""Largest zstd window that is accepted, in bytes: what a reader must hold in memory."""

_OUTPUT_PER_OPERATION = 64
_OPERATIONS_PER_ENTRY = 8
_MAX_VARINT = 9  # bytes of a number below 2^63
_LONGEST = 1 + _MAX_VARINT  # bytes of an operation without its content
_READ = 1 << 17
_BREAKS_OFF = "breaks off in an operation"


class Kind(IntEnum):
    """What an operation does; the numbers are those of the stream."""

    DATA = 0
    OPEN = 1
    COPY = 2
    ADD_DATA = 3
    SEEK = 4


class SourceFile(Protocol):
    """A regular file of the source."""

    @property
    def size(self) -> int: ...

    def read_at(self, position: int, size: int) -> bytes | memoryview:
        """Return exactly these bytes, all of which the file has."""
        ...

    def expect(self, position: int) -> None:
        """Prepare to read what comes behind a position."""
        ...

    def frame_at(self, position: int, size: int) -> tuple[bytes, bytes] | None:
        """Return the frame that holds exactly these bytes, and the bytes; None where no frame does."""
        ...


class Source(Protocol):
    """The regular files of a source."""

    def open(self, name: str) -> SourceFile | None:
        """Return the file of this name, as it stands in a tar: without a slash in front; None where there is none."""
        ...


class Rebuilder(Stream):
    """The tar that a tar-diff describes, as a stream of exactly ``size`` bytes.

    Memory and work are bounded by what the tar may be: no operation gives more than is left of it, there are at most
    one operation for each 64 bytes and eight for each of its ``entries``, and a name must be a file of the source. ``what`` is the
    subject of an error. Raises `IntegrityError` for all else.
    """

    def __init__(self, delta: Readable, source: Source, size: int, entries: int, what: str) -> None:
        self._source = source
        self._left = size
        self._size = size
        self._operations_left = size // _OUTPUT_PER_OPERATION + _OPERATIONS_PER_ENTRY * (entries + 1)
        self._what = what
        self._operations = _Operations(delta, what)
        self._kind = 0
        self._number = 0  # bytes left of the current operation
        self._file: SourceFile | None = None
        self._position = 0
        self._framed = b""  # the next bytes, of which the frame was given

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        framed, self._framed = self._framed, b""
        if framed and size == len(framed):
            self._advance(size)
            return framed
        parts = []
        while size and self._has_more():
            part = self._piece(min(size, self._number))
            parts.append(part)
            size -= len(part)
            self._advance(len(part))
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    def frame(self, size: int) -> bytes | None:
        """Return the frame of the source that holds exactly the next ``size`` bytes, if there is one; `read` gives them."""
        if not self._has_more() or self._kind != Kind.COPY or self._number < size or not self._file:
            return None
        found = self._file.frame_at(self._position, size)
        if found is None:
            return None
        frame, self._framed = found
        return frame

    def close(self) -> None:
        """Do nothing, as the caller closes the delta."""

    def _advance(self, size: int) -> None:
        self._number -= size
        if self._kind != Kind.DATA:
            self._position += size

    def _piece(self, size: int) -> bytes | memoryview:
        """Return some of the next ``size`` bytes, which the current operation gives."""
        if self._kind == Kind.DATA:
            return self._operations.block(size)
        assert self._file, "checked before"
        size = min(size, BLOCK)
        old = self._file.read_at(self._position, size)
        self._file.expect(self._position)
        return old if self._kind == Kind.COPY else add(old, self._operations.data(size))

    def _has_more(self) -> bool:
        """Go on to the next operation that gives bytes, unless some of the current one are left; False at the end."""
        while not self._number:
            if (operation := self._operations.next()) is None:
                if self._left:
                    raise self._refused(f"ends after {self._size - self._left} of the {self._size} bytes of its layer")
                return False
            self._begin(*operation)
        return True

    def _begin(self, kind: int, number: int) -> None:
        self._operations_left -= 1
        if self._operations_left < 0:
            raise self._refused("has more operations than its layer can need")
        if kind == Kind.OPEN:
            self._file, self._position = self._open(number), 0
        elif kind == Kind.SEEK:
            self._check_inside(number, 0)
            self._position = number
        elif number > self._left:
            raise self._refused(f"gives more than the {self._size} bytes of its layer")
        else:
            if kind != Kind.DATA:
                self._check_inside(self._position, number)
            self._left -= number
            self._kind, self._number = kind, number

    def _open(self, length: int) -> SourceFile:
        if not 0 < length <= MAX_NAME:
            raise self._refused(f"opens a file whose name has {length} bytes")
        name = self._operations.data(length).decode("utf-8", "surrogateescape")
        file = self._source.open(name)
        if file is None:
            raise self._refused(f"opens {name[:200]!r}, which is not a regular file of its source")
        return file

    def _check_inside(self, position: int, size: int) -> None:
        if self._file is None:
            raise self._refused("reads from a file before it opens one")
        if position + size > self._file.size:
            raise self._refused(f"reads up to byte {position + size} of a file that has {self._file.size}")

    def _refused(self, why: str) -> IntegrityError:
        return IntegrityError(f"{self._what} {why}")


class Writer:
    """Writes a tar-diff into ``target``; adjacent operations of one kind are written as one.

    A copy begins where the last one ended; `seek` moves that place, `open` makes it the begin of another file.
    """

    def __init__(self, target: Writable | Blob, level: int) -> None:
        target.write(MAGIC)
        self._compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
        self._stream = self._compressor.stream_writer(cast(IO[bytes], target))
        self._pending = bytearray()  # operations that are passed to the compressor together
        self._copying = 0
        self._position = 0

    def open(self, name: str) -> None:
        encoded = name.encode("utf-8", "surrogateescape")
        self._operation(Kind.OPEN, len(encoded), encoded)
        self._position = 0

    def seek(self, position: int) -> None:
        if position != self._position:
            self._operation(Kind.SEEK, position)
            self._position = position

    def copy(self, size: int) -> None:
        self._copying += size
        self._position += size

    def add(self, difference: bytes) -> None:
        self._operation(Kind.ADD_DATA, len(difference), difference)
        self._position += len(difference)

    def data(self, content: bytes | memoryview) -> None:
        self._operation(Kind.DATA, len(content), content)

    def finish(self) -> None:
        self._flush_copy()
        self._pass_on()
        self._stream.flush(zstandard.FLUSH_FRAME)

    def _operation(self, kind: Kind, number: int, content: bytes | memoryview = b"") -> None:
        self._flush_copy()
        self._pending.append(kind)
        self._pending += _varint(number)
        if len(content) > _READ:
            self._pass_on()
            self._stream.write(content)
        else:
            self._pending += content
            if len(self._pending) > _READ:
                self._pass_on()

    def _flush_copy(self) -> None:
        size, self._copying = self._copying, 0
        if size:
            self._pending.append(Kind.COPY)
            self._pending += _varint(size)

    def _pass_on(self) -> None:
        self._stream.write(self._pending)
        self._pending.clear()


def add(one: bytes | memoryview, other: bytes) -> bytes:
    """Return the sums of two byte strings of one length, byte by byte, modulo 256."""
    return (np.frombuffer(one, np.uint8) + np.frombuffer(other, np.uint8)).tobytes()


def subtract(one: bytes | memoryview, other: bytes | memoryview) -> bytes:
    """Return what `add` has to add to ``other`` to make it ``one``."""
    return (np.frombuffer(one, np.uint8) - np.frombuffer(other, np.uint8)).tobytes()


class _Operations:
    """The operations of a stream, one after another; the content of one is read by `data` or `block` before the next one.

    A stream that is cut at the end of an operation looks complete here: what it gives is too short, which the caller checks.
    """

    def __init__(self, delta: Readable, what: str) -> None:
        self._delta = delta
        self._what = what
        self._stream: zstandard.ZstdDecompressionReader | None = None
        self._buffer = b""
        self._at = 0

    def next(self) -> tuple[int, int] | None:
        """Return the kind and number of the next operation; None at the end."""
        if len(self._buffer) - self._at < _LONGEST:
            self._fill()
        buffer, at = self._buffer, self._at
        if at == len(buffer):
            return None
        kind = buffer[at]
        if kind > Kind.SEEK:
            raise self._refused(f"has an operation of the unknown kind {kind}")
        number = shift = 0
        for place, byte in enumerate(buffer[at + 1 : at + _LONGEST], at + 2):
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                self._at = place
                return kind, number
            shift += 7
        raise self._refused("has a number of more than 63 bits" if len(buffer) - at >= _LONGEST else _BREAKS_OFF)

    def data(self, size: int) -> bytes:
        """Return the next ``size`` bytes of an operation."""
        blocks = []
        while size:
            block = self.block(size)
            blocks.append(block)
            size -= len(block)
        return b"".join(blocks)

    def block(self, size: int) -> bytes:
        """Return some of the next ``size`` bytes of an operation."""
        if self._at == len(self._buffer):
            self._buffer, self._at = self._read(), 0
            if not self._buffer:
                raise self._refused(_BREAKS_OFF)
        block = self._buffer[self._at : self._at + size]
        self._at += len(block)
        return block

    def _fill(self) -> None:
        """Have a whole operation without its content in the buffer, unless the stream ends earlier."""
        self._buffer, self._at = self._buffer[self._at :], 0
        while len(self._buffer) < _LONGEST and (more := self._read()):
            self._buffer += more

    def _read(self) -> bytes:
        if self._stream is None:
            self._stream = self._opened()
        try:
            return self._stream.read(_READ)
        except zstandard.ZstdError as error:
            raise self._refused(f"is no valid zstd stream: {error}") from error

    def _opened(self) -> zstandard.ZstdDecompressionReader:
        magic = self._delta.read(len(MAGIC))
        while magic and len(magic) < len(MAGIC) and (more := self._delta.read(len(MAGIC) - len(magic))):
            magic += more
        if magic != MAGIC:
            raise self._refused("does not begin as a tar-diff does")
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        return decompressor.stream_reader(cast(IO[bytes], self._delta), read_size=_READ, read_across_frames=True)

    def _refused(self, why: str) -> IntegrityError:
        return IntegrityError(f"{self._what} {why}")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
