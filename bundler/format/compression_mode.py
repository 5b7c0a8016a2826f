"""The choice between the time of compression and the size of a bundle; a module of its own, as zstd is slow to import."""

from __future__ import annotations

from enum import Enum


class Compression(Enum):
    """How much time is spent to make a bundle smaller."""

    AUTO = "auto"
    FAST = "fast"
    BEST = "best"
    NONE = "none"

    @classmethod
    def named(cls, mode: str) -> Compression:
        """The mode of this name, or the default for a name that is not known."""
        return cls(mode) if mode in {known.value for known in cls} else cls.AUTO
