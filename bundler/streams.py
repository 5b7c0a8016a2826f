"""Streams of bytes: what reads and writes them, and who is told how far they are."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from bundler.errors import IntegrityError, StoreError

BLOCK = 1 << 20
"""Bytes moved at a time, wherever content streams."""

CACHED = 256 << 10
"""Bytes that stay in a core's own cache while several things are done with them one after another."""


class Readable(Protocol):
    """Anything that gives up to ``size`` bytes, and ``b""`` at its end."""

    def read(self, size: int = -1, /) -> bytes: ...


@runtime_checkable
class Sparse(Readable, Protocol):
    """A `Readable` that knows its holes, which read as zeros."""

    def skip_hole(self, unit: int, most: int, /) -> int:
        """Skip the hole that begins here, in multiples of ``unit`` and up to ``most`` bytes; return the number of bytes."""


class Stream(Readable, Protocol):
    """A `Readable` that is closed when the block that uses it ends."""

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Writable(Protocol):
    """Anything that takes bytes."""

    def write(self, data: bytes | memoryview, /) -> object: ...


class Begun:
    """The beginning of a blob that is had already: its sha256 so far, and its size in bytes."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.size = 0

    def add(self, data: bytes) -> None:
        self.hash.update(data)
        self.size += len(data)

    def copy(self) -> Begun:
        """The same beginning, to be gone on with by itself."""
        copy = Begun()
        copy.hash, copy.size = self.hash.copy(), self.size
        return copy


class Opener(Protocol):
    """Opens one blob, from where ``begun`` ends."""

    def __call__(self, begun: Begun | None = None) -> Stream: ...


def from_memory(data: bytes) -> Opener:
    """Opens what is at hand."""

    def opened(begun: Begun | None = None) -> Stream:
        return io.BytesIO(data[begun.size if begun else 0 :])

    return opened


def drain(stream: Readable) -> None:
    """Read a stream to its end, as whoever verifies it wants."""
    while stream.read(BLOCK):
        pass


def read_exactly(content: Readable, size: int, what: str = "the content") -> bytearray:
    """The next ``size`` bytes of a stream, and never more; raises `IntegrityError` when it ends before."""
    data = bytearray()
    while len(data) < size:
        block = content.read(min(size - len(data), BLOCK))
        if not block:
            raise IntegrityError(f"{what} ended after {len(data)} of {size} bytes")
        data += block
    return data


def pieces(data: bytes) -> Iterator[memoryview]:
    """Some bytes as pieces that a core's own cache holds, for those who do several things with each."""
    view = memoryview(data)
    for start in range(0, len(data), CACHED):
        yield view[start : start + CACHED]


class _Nothing:
    """A `Readable` at its end."""

    def read(self, size: int = -1, /) -> bytes:
        del size
        return b""


NOTHING = _Nothing()
"""The content of whatever has none."""


class Progress(Protocol):
    """Somebody who watches long work."""

    def stage(self, text: str, total: int | None = None) -> None:
        """A new piece of work begins; ``total`` is in bytes."""
        ...

    def advance(self, count: int) -> None:
        """So many more bytes are done."""
        ...

    def aside(self, text: str, total: int) -> AbstractContextManager[Callable[[int], object]]:
        """Work within a stage that is shown beside it, for the length of the block; several may be under way at once.

        Gives what is to be told that so many more bytes of ``total`` are done.
        """
        ...

    def note(self, text: str) -> None:
        """What just happens to this piece of work, such as a wait before another attempt."""
        ...

    def warn(self, text: str) -> None:
        """Something that the user should know, though the work goes on."""
        ...


class NullProgress:
    """Shows nothing."""

    def stage(self, text: str, total: int | None = None) -> None: ...

    def advance(self, count: int) -> None: ...

    def aside(self, text: str, total: int) -> AbstractContextManager[Callable[[int], object]]:
        del text, total
        return nullcontext(self.advance)

    def note(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...


NULL_PROGRESS = NullProgress()


class Advancing(Protocol):
    """Somebody who is told how far it has come, and may end it by raising an error."""

    def advance(self, count: int) -> None: ...


def watched(content: Stream, progress: Advancing) -> Stream:
    """A stream that tells how far it was read."""
    return _Watched(content, progress)


class WatchedOpener:
    """Opens a blob as often as it is needed, tells how far the last opening was read, and gives up when ``stop`` is set."""

    def __init__(self, opened: Opener, progress: Advancing, stop: threading.Event) -> None:
        self._opened = opened
        self._progress = progress
        self._stop = stop
        self._position = 0

    def __call__(self, begun: Begun | None = None) -> Stream:
        self.advance((begun.size if begun else 0) - self._position)
        return _Watched(self._opened(begun), self)

    def advance(self, count: int) -> None:
        if self._stop.is_set():
            raise StoreError("the copy was given up, because another part of it failed")
        self._position += count
        self._progress.advance(count)


class _Watched(Stream):
    def __init__(self, content: Stream, progress: Advancing) -> None:
        self._content = content
        self._progress = progress

    def read(self, size: int = -1, /) -> bytes:
        data = self._content.read(size)
        self._progress.advance(len(data))
        return data

    def close(self) -> None:
        self._content.close()
