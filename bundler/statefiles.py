"""One process of ours at a time where two would disturb each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from bundler import ownfiles
from bundler.errors import BusyError


def directory() -> Path:
    """Where locks and journals lie, below the user's state directory."""
    return platformdirs.user_state_path("fps-bundle")


@contextmanager
def hold(kind: str, name: str, wait: float = 0) -> Iterator[None]:
    """Hold the lock of one thing; raises `BusyError` when another process holds it for longer than we wait, in seconds."""
    path = directory() / "locks" / f"{kind}-{name}.lock"
    for place in (directory(), path.parent):
        ownfiles.make_directory(place)
    lock = FileLock(path, timeout=wait, mode=0o600)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(
            f"another fps-bundle is at work on the {kind} {name[:12]}", hint="Wait until it is done, then run the command again."
        ) from error
    try:
        yield
    finally:
        lock.release()
