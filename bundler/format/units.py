"""Sizes and durations as users write them."""

from __future__ import annotations

import math
import re

from bundler.errors import UsageError

MEDIA = {
    "fat32": (4 << 30) - (64 << 10),
    "dvd": 4_690_000_000,
    "bd": 24_000_000_000,
}
"""Largest file on common media, in bytes.

FAT32 holds files of less than 4 GiB. A DVD+R of one layer has 2,295,104 sectors of 2048 bytes (ECMA-349), which is a
little less than a DVD-R; a BD-R of one layer has 12,219,392, of which formatting may keep a spare area back. What is
left out is for that and for the disc's own file system.
"""

MAX_SIZE = 8 * 10**18
"""Bytes of the largest size; no file has more (off_t)."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(i?)[bB]?")
_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(rf"{_NUMBER}|(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def size(text: str) -> int:
    """Bytes: ``25k`` and ``25 kB`` are 25,000 of them, ``4GiB`` is 4 * 1024^3 (IEC 80000-13); raises `UsageError`."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{text[:40]!r} is no size", hint="Write a number with a unit, such as 25k, 700MB or 4GiB.")
    number, prefix, binary = found.groups()
    count = float(number) * (1024 if binary else 1000) ** _POWERS[prefix.lower()]
    if count > MAX_SIZE:
        raise UsageError(f"{text[:40]!r} is too large", hint="Write a size of at most 8000000TB.")
    return int(count)


def shown(count: int) -> str:
    """Format bytes for display, in powers of 1000."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def counted(count: int, one: str, many: str = "") -> str:
    """Format a number of things for display: ``1 layer``, ``2 layers``; ``many`` is the plural that is not ``one`` and an ``s``."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def duration(text: str) -> float:
    """Seconds: ``90``, ``90s``, ``1.5m`` and ``1h30m`` are such; raises `UsageError`."""
    found = _DURATION.fullmatch(text.strip().lower())
    if not found or not any(found.groups()):
        raise UsageError(f"{text[:40]!r} is not a duration", hint="Write seconds, or numbers with units, such as 90s or 1h30m.")
    plain, hours, minutes, seconds = (float(number or 0) for number in found.groups())
    total = plain + 3600 * hours + 60 * minutes + seconds
    if not math.isfinite(total):
        raise UsageError(f"{text[:40]!r} is too long", hint="Write seconds, or numbers with units, such as 90s or 1h30m.")
    return total


def medium(text: str) -> int:
    """Parse the largest size of a file, given as a size or as the name of a medium; raises `UsageError`."""
    wanted = text.strip().lower()
    return MEDIA[wanted] if wanted in MEDIA else size(text)
