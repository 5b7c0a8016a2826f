"""Limits of network use: rate, parallelism, timeouts."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Limits:
    """The limits from the command line: bytes per second, parallel blobs, idle timeout in seconds.

    ``patience`` is a factor on every wait before a retry.
    """

    rate: int | None = None
    parallel: int = 3
    timeout: float = 60.0
    patience: float = 1.0


class Throttle:
    """Limits the rate of all transfers that share it, in bytes per second."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, count: int) -> None:
        """Wait until ``count`` bytes may pass."""
        with self._lock:
            start = max(self._free_at, time.monotonic())
            self._free_at = start + count / self._rate
        time.sleep(max(0.0, start - time.monotonic()))


@lru_cache(maxsize=1)
def throttle(rate: int) -> Throttle:
    """Return the throttle that source and target of a copy share."""
    return Throttle(rate)
