"""The state directory, with locks by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from bundler.localfs import locks, private_file


def directory() -> Path:
    """Return the directory of locks and journals, below the user's state directory."""
    return platformdirs.user_state_path("fps-bundle")


@contextmanager
def hold(kind: str, name: str, wait: float = 0) -> Iterator[None]:
    """Hold the lock of a named thing; raises `BusyError` after waiting ``wait`` seconds for another process."""
    path = directory() / "locks" / f"{kind}-{name}.lock"
    private_file.make_directory(directory(), may_be_link=True)
    private_file.make_directory(path.parent)
    with locks.locked(path, f"the {kind} {name[:12]}", wait):
        yield
