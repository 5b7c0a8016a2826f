"""Files that appear under their name only when they are complete and on the disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path
from types import TracebackType

from bundler.errors import disk_errors

_PREFIX = ".fps-bundle-part-"


class PartFile:
    """A file that is written aside, in the directory where it will stand.

    A lock is held on it while it is written, by which `sweep` tells it from one that a killed
    process left behind.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with disk_errors(directory):
            descriptor, path = _locked_file(directory)
        self._path = Path(path)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, data: bytes) -> None:
        with disk_errors(self._path.parent):
            self._file.write(data)

    def publish(self, target: Path, mode: int = 0o644, owner: tuple[int, int] = (-1, -1)) -> None:
        """Give the file its name, after all of it has reached the disk; what had the name before is replaced.

        The owner is a user and a group as for chown(2), where -1 leaves what is.
        """
        with disk_errors(target):
            self._file.flush()
            os.fchown(self._file.fileno(), *owner)
            os.fchmod(self._file.fileno(), mode)
            os.fsync(self._file.fileno())
            self._path.replace(target)
            self._file.close()
            sync_directory(target.parent)

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what could not be written need not be
            self._file.close()

    def __enter__(self) -> PartFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._file.closed:
            self.discard()


def _locked_file(directory: Path) -> tuple[int, str]:
    """A new file with a lock on it; another one, when `sweep` took it away before the lock was there."""
    while True:
        descriptor, path = tempfile.mkstemp(prefix=_PREFIX, dir=directory)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, path
        os.close(descriptor)


def write_file(target: Path, data: bytes, mode: int = 0o644, owner: tuple[int, int] = (-1, -1)) -> None:
    """Replace a whole small file at once."""
    with PartFile(target.parent) as part:
        part.write(data)
        part.publish(target, mode, owner)


def is_part(path: Path) -> bool:
    """Whether a file is one that is still being written, or was left so."""
    return path.name.startswith(_PREFIX)


def sweep(directory: Path) -> None:
    """Remove what killed processes left half written; files that somebody is still writing stay."""
    for path in directory.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
