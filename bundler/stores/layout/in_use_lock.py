"""Who uses a local store: a blob may be deleted only while no other process could be counting on it."""

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
"""Open lock files by process, device and inode; a forked process has to join for itself."""


def join(store: Path) -> int:
    """Count this process, with all its threads, among the users of a store until it ends; gives the lock's descriptor.

    Waits while another process deletes there; raises `BusyError` when that takes too long.
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
    """Whether this process is the only user of a store, which then stays so for the length of the block.

    Only for who holds the lock of the store's index. A lock that changes between shared and exclusive is lost for a moment
    (flock(2)); as nobody else can be deleting without the index's lock, nothing happens in that moment.
    """
    descriptor = join(store)
    is_alone = locks.attempt(descriptor)
    try:
        yield is_alone
    finally:
        locks.acquire(descriptor, _WHAT, shared=True)


def busy(store: Path) -> BusyError:
    """The error for a store that other processes use."""
    return locks.busy(join(store), _WHAT)
