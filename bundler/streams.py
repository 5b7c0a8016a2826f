"""Streams that tell how far they were read."""

from __future__ import annotations

import threading
from typing import Protocol

from bundler.errors import StoreError
from bundler.format.content import Begun, Stream
from bundler.ports import Opener


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
