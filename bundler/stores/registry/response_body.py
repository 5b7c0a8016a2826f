"""What an answer brings, which must not come too slowly to ever arrive."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests

from bundler.stores.registry.retry import TransientError

RECEIVE_BLOCK = 64 << 10
SLOWEST = 256
"""Bytes per second, measured over `Limits.timeout`, below which a connection is given up."""


class Watch:
    """Sees to it that bytes do not come too slowly."""

    def __init__(self, window: float, where: str) -> None:
        self._window = window
        self._where = where
        self._since = time.monotonic()
        self._count = 0
        self.is_slow = False

    def saw(self, count: int) -> None:
        """Raises `TransientError` when a whole window has brought too little."""
        self._count += count
        elapsed = time.monotonic() - self._since
        if elapsed < self._window:
            return
        if self._count < SLOWEST * elapsed:
            self.is_slow = True
            raise TransientError(
                f"{self._where}: the link gives {self._count / elapsed:.0f} bytes per second, which is too few",
                hint="Check the link, then run the same command again.",
            )
        self._since, self._count = time.monotonic(), 0


def blocks(response: requests.Response, most: int, window: float, *, decode: bool = False) -> Iterator[bytes]:
    """The body of a response, of which no more is read than ``most`` bytes; raises `TransientError` as `Watch` does."""
    watch = Watch(window, urlsplit(response.url).netloc)
    while most and (block := response.raw.read1(min(most, RECEIVE_BLOCK), decode_content=decode)):
        watch.saw(len(block))
        most -= len(block)
        yield block


def body(response: requests.Response, most: int, window: float, *, decode: bool = False) -> bytes:
    """What `blocks` gives, in one piece."""
    return b"".join(blocks(response, most, window, decode=decode))
