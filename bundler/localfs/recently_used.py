"""Files of a cache, of which only those that were used last are kept; using one sets its time of modification."""

from __future__ import annotations

import contextlib
from pathlib import Path


def keep_newest(directory: Path, pattern: str, count: int) -> None:
    """Delete the files of a directory that match ``pattern``, except the ``count`` most recently used ones."""
    for old in sorted(directory.glob(pattern), key=_last_use, reverse=True)[count:]:
        old.unlink(missing_ok=True)


def _last_use(path: Path) -> float:
    with contextlib.suppress(OSError):  # another process may have deleted it
        return path.stat().st_mtime
    return 0.0
