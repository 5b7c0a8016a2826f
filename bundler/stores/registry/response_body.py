"""Response bodies, read with a minimum rate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests

from bundler.stores.registry.retry import TransientError

RECEIVE_BLOCK = 64 << 10
SLOWEST = 256
"""Minimum bytes per second, measured over `Limits.timeout`; slower connections are closed."""


class RateWatch:
    """Checks that a transfer has the minimum rate."""

    def __init__(self, window: float, where: str) -> None:
        self._window = window
        self._where = where
        self._since = time.monotonic()
        self._count = 0
        self.is_slow = False

    def saw(self, count: int) -> None:
        """Raises `TransientError` when a whole window had less than the minimum rate."""
        self._count += count
        elapsed = time.monotonic() - self._since
        if elapsed < self._window:
            return
        if self._count < SLOWEST * elapsed:
            self.is_slow = True
            raise TransientError(
                f"{self._where}: the transfer rate of {self._count / elapsed:.0f} bytes per second is too low",
                hint="Check the link, then run the same command again.",
            )
        self._since, self._count = time.monotonic(), 0


def body_blocks(response: requests.Response, most: int, window: float, *, decode: bool = False) -> Iterator[bytes]:
    """Yield at most ``most`` bytes of a response body; raises `TransientError` as `RateWatch` does."""
    watch = RateWatch(window, urlsplit(response.url).netloc)
    while most and (block := response.raw.read1(min(most, RECEIVE_BLOCK), decode_content=decode)):
        watch.saw(len(block))
        most -= len(block)
        yield block


def body(response: requests.Response, most: int, window: float, *, decode: bool = False) -> bytes:
    """Return what `body_blocks` yields as one value."""
    return b"".join(body_blocks(response, most, window, decode=decode))
