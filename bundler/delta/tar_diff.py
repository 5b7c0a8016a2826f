"""The stream of a tar-diff (``application/vnd.tar-diff``, ``tardf1``): a tar as operations on the files of another tar.

Eight bytes of magic are followed by one zstd stream of operations. An operation is one byte for its kind, an unsigned varint
``n``, and for some kinds ``n`` bytes. Only the content of regular files of the source can be copied, by path and position;
headers and padding are sent as data.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
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
_READ = 1 << 17


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

    def read_at(self, position: int, size: int) -> bytes:
        """Return exactly these bytes, all of which the file has."""
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
        self._blocks = self._rebuilt()
        self._block = memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        if not self._block:
            self._block = memoryview(next(self._blocks, b""))
        data = bytes(self._block[:size])
        self._block = self._block[size:]
        return data

    def close(self) -> None:
        self._blocks.close()

    def _rebuilt(self) -> Generator[bytes]:
        file: SourceFile | None = None
        position = 0
        while (operation := self._operations.next()) is not None:
            kind, number = operation
            self._operations_left -= 1
            if self._operations_left < 0:
                raise self._refused("has more operations than its layer can need")
            if kind == Kind.OPEN:
                file, position = self._open(number), 0
                continue
            if kind == Kind.SEEK:
                position = number
                self._check_inside(file, position, 0)
                continue
            if number > self._left:
                raise self._refused(f"gives more than the {self._size} bytes of its layer")
            self._left -= number
            if kind == Kind.DATA:
                yield from self._operations.data(number)
                continue
            self._check_inside(file, position, number)
            assert file is not None, "checked before"
            yield from self._copied(file, position, number) if kind == Kind.COPY else self._added(file, position, number)
            position += number
        if self._left:
            raise self._refused(f"ends after {self._size - self._left} of the {self._size} bytes of its layer")

    def _open(self, length: int) -> SourceFile:
        if not 0 < length <= MAX_NAME:
            raise self._refused(f"opens a file whose name has {length} bytes")
        name = b"".join(self._operations.data(length)).decode("utf-8", "surrogateescape")
        file = self._source.open(name)
        if file is None:
            raise self._refused(f"opens {name[:200]!r}, which is not a regular file of its source")
        return file

    def _check_inside(self, file: SourceFile | None, position: int, size: int) -> None:
        if file is None:
            raise self._refused("reads from a file before it opens one")
        if position + size > file.size:
            raise self._refused(f"reads up to byte {position + size} of a file that has {file.size}")

    def _copied(self, file: SourceFile, position: int, size: int) -> Iterator[bytes]:
        for begin, length in _pieces(position, size):
            yield file.read_at(begin, length)

    def _added(self, file: SourceFile, position: int, size: int) -> Iterator[bytes]:
        for begin, length in _pieces(position, size):
            yield add(file.read_at(begin, length), b"".join(self._operations.data(length)))

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
        self._stream.flush(zstandard.FLUSH_FRAME)

    def _operation(self, kind: Kind, number: int, content: bytes | memoryview = b"") -> None:
        self._flush_copy()
        self._stream.write(bytes([kind]) + _varint(number))
        if content:
            self._stream.write(content)

    def _flush_copy(self) -> None:
        size, self._copying = self._copying, 0
        if size:
            self._stream.write(bytes([Kind.COPY]) + _varint(size))


def add(one: bytes, other: bytes) -> bytes:
    """Return the sums of two byte strings of one length, byte by byte, modulo 256."""
    return (np.frombuffer(one, np.uint8) + np.frombuffer(other, np.uint8)).tobytes()


def subtract(one: bytes | memoryview, other: bytes | memoryview) -> bytes:
    """Return what `add` has to add to ``other`` to make it ``one``."""
    return (np.frombuffer(one, np.uint8) - np.frombuffer(other, np.uint8)).tobytes()


class _Operations:
    """The operations of a stream, one after another; the content of one is read by `data` before the next one.

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
        if not self._available():
            return None
        kind = self._byte()
        if kind > Kind.SEEK:
            raise self._refused(f"has an operation of the unknown kind {kind}")
        number = 0
        for shift in range(0, 7 * _MAX_VARINT, 7):
            byte = self._byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return kind, number
        raise self._refused("has a number of more than 63 bits")

    def data(self, size: int) -> Iterator[bytes]:
        """Give the content of an operation in blocks."""
        while size:
            if not self._available():
                raise self._refused("breaks off in an operation")
            block = self._buffer[self._at : self._at + size]
            self._at += len(block)
            size -= len(block)
            yield block

    def _byte(self) -> int:
        if not self._available():
            raise self._refused("breaks off in an operation")
        self._at += 1
        return self._buffer[self._at - 1]

    def _available(self) -> bool:
        """Whether there is a byte in the buffer, which is filled again when all of it was used."""
        if self._at == len(self._buffer):
            self._buffer, self._at = self._read(), 0
        return bool(self._buffer)

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


def _pieces(position: int, size: int) -> Iterator[tuple[int, int]]:
    for begin in range(position, position + size, BLOCK):
        yield begin, min(BLOCK, position + size - begin)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
