"""Byte streams: protocols, helpers, and progress."""

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
"""Bytes that stay in a core's cache during several passes."""


class Readable(Protocol):
    """A source of bytes: `read` returns up to ``size`` bytes, and ``b""`` at the end."""

    def read(self, size: int = -1, /) -> bytes: ...


@runtime_checkable
class Sparse(Readable, Protocol):
    """A `Readable` with holes, which read as zeros."""

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
    """A sink for bytes."""

    def write(self, data: bytes | memoryview, /) -> object: ...


class Begun:
    """The beginning of a blob that is already there: its running SHA-256 and its size in bytes."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.size = 0

    def add(self, data: bytes) -> None:
        self.hash.update(data)
        self.size += len(data)

    def copy(self) -> Begun:
        """Return an independent copy."""
        copy = Begun()
        copy.hash, copy.size = self.hash.copy(), self.size
        return copy


class Opener(Protocol):
    """Opens one blob, from where ``begun`` ends."""

    def __call__(self, begun: Begun | None = None) -> Stream: ...


def from_memory(data: bytes) -> Opener:
    """Return an opener for data in memory."""

    def opened(begun: Begun | None = None) -> Stream:
        return io.BytesIO(data[begun.size if begun else 0 :])

    return opened


def drain(stream: Readable) -> None:
    """Read a stream to its end, which verifies it."""
    while stream.read(BLOCK):
        pass


def skip(stream: Readable, size: int) -> None:
    """Skip ``size`` bytes, or fewer at the end."""
    while size and (block := stream.read(min(size, BLOCK))):
        size -= len(block)


def read_exactly(content: Readable, size: int, what: str = "the content") -> bytearray:
    """Return exactly the next ``size`` bytes of a stream; raises `IntegrityError` when it ends earlier."""
    data = bytearray()
    while len(data) < size:
        block = content.read(min(size - len(data), BLOCK))
        if not block:
            raise IntegrityError(f"{what} ended after {len(data)} of {size} bytes")
        data += block
    return data


def pieces(data: bytes) -> Iterator[memoryview]:
    """Yield pieces of `CACHED` bytes, for several passes over each."""
    view = memoryview(data)
    for start in range(0, len(data), CACHED):
        yield view[start : start + CACHED]


class _Empty:
    """A `Readable` at its end."""

    def read(self, size: int = -1, /) -> bytes:
        del size
        return b""


NOTHING = _Empty()
"""The content of entries without content."""


class Progress(Protocol):
    """Receives the progress of long work."""

    def stage(self, text: str, total: int | None = None) -> None:
        """Start a stage; ``total`` is in bytes."""
        ...

    def advance(self, count: int) -> None:
        """Report ``count`` more bytes as done."""
        ...

    def aside(self, text: str, total: int) -> AbstractContextManager[Callable[[int], object]]:
        """Show work within a stage beside it, for the length of the block; several may run in parallel.

        Returns the function that takes the count of further bytes of ``total``.
        """
        ...

    def note(self, text: str) -> None:
        """Report an event of the work, such as a wait before a retry."""
        ...

    def warn(self, text: str) -> None:
        """Report something that the user should know; the work continues."""
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
    """Receives the count of read bytes, and may stop the work by raising an error."""

    def advance(self, count: int) -> None: ...


def watched(content: Stream, progress: Advancing) -> Stream:
    """Return a stream that reports how far it was read."""
    return _Watched(content, progress)


class WatchedOpener:
    """Opens a blob repeatedly, reports how far the last stream was read, and fails when ``stop`` is set."""

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
            raise StoreError("copy aborted: another part of it failed")
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
