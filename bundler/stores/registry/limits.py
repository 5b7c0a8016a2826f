"""How much of a link may be used, and how long anything on it may take."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Limits:
    """What the user grants: bytes per second, blobs at once, seconds without a byte.

    ``patience`` is a factor on every wait before another attempt.
    """

    rate: int | None = None
    parallel: int = 3
    timeout: float = 60.0
    patience: float = 1.0


class Throttle:
    """Lets so many bytes per second through, of all that share it."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, count: int) -> None:
        """Wait until so many bytes may pass."""
        with self._lock:
            start = max(self._free_at, time.monotonic())
            self._free_at = start + count / self._rate
        time.sleep(max(0.0, start - time.monotonic()))


@lru_cache(maxsize=1)
def throttle(rate: int) -> Throttle:
    """The one throttle that both ends of a copy share."""
    return Throttle(rate)
