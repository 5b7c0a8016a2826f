"""How people write a number of bytes: with a unit, or as the name of a medium."""

from __future__ import annotations

import re

from bundler.errors import UsageError

MEDIA = {
    "fat32": (4 << 30) - (64 << 10),
    "dvd": 4_690_000_000,
    "bd": 24_000_000_000,
}
"""What one file may have on usual media, in bytes.

FAT32 holds files of less than 4 GiB. A DVD+R of one layer has 2,295,104 sectors of 2048 bytes (ECMA-349), which is a
little less than a DVD-R; a BD-R of one layer has 12,219,392, of which formatting may keep a spare area back. What is
left out is for that and for the disc's own file system.
"""

_UNITS: dict[str, int] = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgt", 1)
    for suffix, base in (("b", 1000), ("ib", 1024), ("", 1000))
}
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,6})?) ?([a-z]*)")


def parse(text: str) -> int:
    """Read ``4GiB``, ``700MB``, ``1.5 GB``, ``65536`` or the name of a medium; raises `UsageError`."""
    wanted = text.strip().lower()
    found = _SIZE.fullmatch(wanted)
    if wanted in MEDIA:
        return MEDIA[wanted]
    if not found or found[2] not in _UNITS:
        raise UsageError(
            f"{text[:40]!r} is no size",
            hint=f"Write bytes, or a number with kB, MB, GB, KiB, MiB or GiB, or one of: {', '.join(MEDIA)}.",
        )
    whole, _, fraction = found[1].partition(".")
    unit = _UNITS[found[2]]
    return int(whole) * unit + int(fraction.ljust(6, "0")) * unit // 1_000_000
