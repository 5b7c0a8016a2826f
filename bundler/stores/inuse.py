"""Who uses a local store: a blob may be deleted only while no other process could be counting on it."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bundler.errors import disk_errors

FILE = "in-use.lock"

_guard = threading.Lock()
_joined: dict[tuple[int, int, int], int] = {}
"""Open lock files by process, device and inode; a forked process has to join for itself."""


def join(store: Path) -> int:
    """Count this process, with all its threads, among the users of a store until it ends; gives the lock's descriptor.

    Waits while another process deletes there.
    """
    path = store / FILE
    with _guard, disk_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        found = os.fstat(descriptor)
        key = (os.getpid(), found.st_dev, found.st_ino)
        if key in _joined:
            os.close(descriptor)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            _joined[key] = descriptor
    return _joined[key]


@contextmanager
def alone(store: Path) -> Iterator[bool]:
    """Whether this process is the only user of a store, which then stays so for the length of the block.

    Only for who holds the lock of the store's index. A lock that changes between shared and exclusive is lost for a moment
    (flock(2)); as nobody else can be deleting without the index's lock, nothing happens in that moment.
    """
    descriptor = join(store)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield False
        return
    try:
        yield True
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
