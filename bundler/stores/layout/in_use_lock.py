"""The in-use lock of a local store: blobs are deleted only while no other process uses the store."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bundler.errors import BusyError
from bundler.localfs import locks, private_file

FILE = "in-use.lock"

_WHAT = "the local store"
_guard = threading.Lock()
_joined: dict[tuple[int, int, int], int] = {}
"""Open lock files by process, device and inode; a forked process joins again."""


def join(store: Path) -> int:
    """Share the lock of a store until this process ends; returns the lock's descriptor.

    Waits while another process deletes there; raises `BusyError` after the limit.
    """
    with _guard:
        descriptor = private_file.open_file(store / FILE, os.O_RDWR | os.O_CREAT)
        found = os.fstat(descriptor)
        key = (os.getpid(), found.st_dev, found.st_ino)
        try:
            if key not in _joined:
                locks.acquire(descriptor, _WHAT, shared=True)
                _joined[key] = descriptor
        finally:
            if _joined.get(key) != descriptor:
                os.close(descriptor)
    return _joined[key]


@contextmanager
def alone(store: Path) -> Iterator[bool]:
    """Whether this process is the only user of a store, also for the length of the block.

    The caller must hold the lock of the store's index. A lock that changes between shared and exclusive is released for a
    moment (flock(2)). That is safe, because no process deletes without the lock of the index.
    """
    descriptor = join(store)
    is_alone = locks.attempt(descriptor)
    try:
        yield is_alone
    finally:
        locks.acquire(descriptor, _WHAT, shared=True)


def busy(store: Path) -> BusyError:
    """Return the error for a store that other processes use."""
    return locks.busy(join(store), _WHAT)
