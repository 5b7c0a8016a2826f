"""Files that appear under their name only when they are complete and on the disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from bundler.errors import BundlerError, IntegrityError, NoSpaceError, disk_errors
from bundler.localfs import locks, private_file
from bundler.streams import BLOCK, Begun

_PREFIX = ".fps-bundle-part-"
_KEPT_PREFIX = ".fps-bundle-kept-"

KEPT_SECONDS = 7 * 24 * 3600
"""For how long half a download waits to be gone on with."""


class PartFile:
    """A file that is written aside, in the directory where it will stand.

    A lock is held on it while it is written, by which `sweep` tells it from one that a killed
    process left behind.
    """

    def __init__(self, directory: Path) -> None:
        with disk_errors(directory):
            self._take(*_locked_file(directory))

    def _take(self, descriptor: int, path: Path) -> None:
        self._path = path
        self._file = os.fdopen(descriptor, "r+b")

    def begun(self, size: int) -> Begun | None:
        """What is in it already of a content of ``size`` bytes."""
        del size
        return None

    def write(self, data: bytes | memoryview) -> None:
        with disk_errors(self._path.parent):
            self._file.write(data)

    def settle(self) -> None:
        """Wait until the disk has what was written so far, so that `publish` need not wait for all of it."""
        with disk_errors(self._path.parent):
            os.fdatasync(self._file.fileno())

    @property
    def size(self) -> int:
        """Bytes that were written."""
        return self._file.tell()

    def cut(self, size: int) -> None:
        """Go back to where so many bytes were written."""
        with disk_errors(self._path.parent):
            self._file.seek(size)
            self._file.truncate()

    def read_back(self, sha256: str, advance: Callable[[int], object] = lambda _: None) -> None:
        """Raises `IntegrityError` when the medium does not give back what was written to it: sticks lie.

        ``sha256`` is the hex digest of what was written; ``advance`` is told how many more bytes it gave.
        """
        descriptor = self._file.fileno()
        with disk_errors(self._path.parent):
            self._file.flush()
            os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # so that not the kernel's memory answers
        try:
            found = self._digest(advance)
        except OSError as error:
            found = f"nothing: {error.strerror}"
        if found != sha256:
            raise IntegrityError(
                f"{self._path.parent}: the medium does not give back what was written to it",
                hint="Try another stick or disk; this one is broken, or smaller than it says.",
            )

    def _digest(self, advance: Callable[[int], object]) -> str:
        digest = hashlib.sha256()
        self._file.seek(0)
        while block := self._file.read(BLOCK):
            digest.update(block)
            advance(len(block))
        return digest.hexdigest()

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
        self._close()

    def _close(self) -> None:
        with contextlib.suppress(OSError):  # what could not be written need not be
            self._file.close()

    def __enter__(self) -> PartFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._file.closed:
            self.discard()


class _KeptPart(PartFile):
    """A part that stays when its content breaks off, for the next attempt to go on with."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._take(descriptor, path)

    def begun(self, size: int) -> Begun | None:
        begun = Begun()
        with disk_errors(self._path):
            if os.fstat(self._file.fileno()).st_size > size:
                self._file.truncate(0)
            while block := self._file.read(BLOCK):
                begun.add(block)
        return begun

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        is_worthless = isinstance(error, IntegrityError | NoSpaceError) or (not self._file.closed and not self._file.tell())
        if is_worthless:
            self.discard()
        self._close()


def keep_part(directory: Path, key: str) -> PartFile:
    """The part for the content called ``key``, as far as an earlier attempt got with it.

    While another process writes that one, a new one that is not kept.
    """
    path = directory / f"{_KEPT_PREFIX}{key}"
    with disk_errors(directory):
        while True:
            descriptor = private_file.open_plain(path, os.O_RDWR | os.O_CREAT)
            if not locks.attempt(descriptor):
                os.close(descriptor)
                return PartFile(directory)
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                return _KeptPart(descriptor, path)
            os.close(descriptor)  # it was finished, or swept away, before the lock was there


def check_space(path: Path, size: int) -> None:
    """Raises `NoSpaceError` when ``size`` more bytes do not fit on the disk of a path."""
    with disk_errors(path):
        free = shutil.disk_usage(path).free
    if size > free:
        raise NoSpaceError(
            f"{path}: {size} bytes are needed there, and {free} are free", hint="Free some space, or name another place."
        )


def _locked_file(directory: Path) -> tuple[int, Path]:
    """A new file with a lock on it; another one, when a `sweep` has it in its hands before the lock is there."""
    while True:
        descriptor, path = tempfile.mkstemp(prefix=_PREFIX, dir=directory)
        if locks.attempt(descriptor) and os.fstat(descriptor).st_nlink:
            return descriptor, Path(path)
        os.close(descriptor)


def write_file(target: Path, data: bytes, mode: int = 0o644, owner: tuple[int, int] = (-1, -1)) -> None:
    """Replace a whole small file at once; what killed processes left half written beside it goes."""
    with disk_errors(target):
        sweep(target.parent)
    with PartFile(target.parent) as part:
        part.write(data)
        part.publish(target, mode, owner)


def is_part(path: Path) -> bool:
    """Whether a file is one that is still being written, or was left so."""
    return path.name.startswith((_PREFIX, _KEPT_PREFIX))


def sweep(directory: Path, kept_seconds: float = KEPT_SECONDS) -> None:
    """Remove what killed processes left half written.

    What somebody is still writing stays, and for ``kept_seconds`` what the next attempt can go on with.
    """
    for path in directory.glob(f"{_PREFIX}*"):
        _remove_unlocked(path, seconds=0)
    for path in directory.glob(f"{_KEPT_PREFIX}*"):
        _remove_unlocked(path, kept_seconds)


def _remove_unlocked(path: Path, seconds: float) -> None:
    with contextlib.suppress(OSError, BundlerError), os.fdopen(private_file.open_plain(path, os.O_RDONLY), "rb") as file:
        if locks.attempt(file.fileno()) and time.time() - os.fstat(file.fileno()).st_mtime >= seconds:
            path.unlink()


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
