"""Sizes as people write them."""

from __future__ import annotations

import re

from bundler.errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(i?)[bB]?")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def size(text: str) -> int:
    """Bytes: ``25k`` and ``25 kB`` are 25,000 of them, ``4GiB`` is 4 * 1024^3 (IEC 80000-13); raises `UsageError`."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{text[:40]!r} is no size", hint="Write a number with a unit, such as 25k, 700MB or 4GiB.")
    number, prefix, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[prefix.lower()])
