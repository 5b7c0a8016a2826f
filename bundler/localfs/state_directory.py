"""One process of ours at a time where two would disturb each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from bundler.localfs import locks, private_file


def directory() -> Path:
    """Where locks and journals lie, below the user's state directory."""
    return platformdirs.user_state_path("fps-bundle")


@contextmanager
def hold(kind: str, name: str, wait: float = 0) -> Iterator[None]:
    """Hold the lock of one thing; raises `BusyError` when another process holds it for longer than we wait, in seconds."""
    path = directory() / "locks" / f"{kind}-{name}.lock"
    private_file.make_directory(directory(), may_be_link=True)
    private_file.make_directory(path.parent)
    with locks.locked(path, f"the {kind} {name[:12]}", wait):
        yield
