"""Files that get their name only when they are complete and on the disk."""

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
"""Seconds for which a partial download is kept for a resume."""


class PartFile:
    """A temporary file in the directory of its target.

    It is locked while it is written, so that `sweep` does not take it for a leftover of a killed process.
    """

    def __init__(self, directory: Path) -> None:
        with disk_errors(directory):
            self._take(*_locked_file(directory))

    def _take(self, descriptor: int, path: Path) -> None:
        self._path = path
        self._file = os.fdopen(descriptor, "r+b")

    def begun(self, size: int) -> Begun | None:
        """Return the beginning of a content of ``size`` bytes that an earlier attempt wrote."""
        del size
        return None

    def write(self, data: bytes | memoryview) -> None:
        with disk_errors(self._path.parent):
            self._file.write(data)

    def settle(self) -> None:
        """Sync the written data to disk, so that `publish` has less to sync."""
        with disk_errors(self._path.parent):
            os.fdatasync(self._file.fileno())

    @property
    def size(self) -> int:
        """Return the number of written bytes."""
        return self._file.tell()

    def cut(self, size: int) -> None:
        """Truncate to ``size`` bytes."""
        with disk_errors(self._path.parent):
            self._file.seek(size)
            self._file.truncate()

    def read_back(self, sha256: str, advance: Callable[[int], object] = lambda _: None) -> None:
        """Raises `IntegrityError` when the medium returns other data than was written, as broken USB sticks do.

        ``sha256`` is the hex digest of the written data; ``advance`` gets the count of each block.
        """
        descriptor = self._file.fileno()
        with disk_errors(self._path.parent):
            self._file.flush()
            os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # bypass the page cache
        try:
            found = self._digest(advance)
        except OSError as error:
            found = f"nothing: {error.strerror}"
        if found != sha256:
            raise IntegrityError(
                f"{self._path.parent}: the medium returned other data than was written",
                hint="Use another medium: this one is broken, or smaller than it reports.",
            )

    def _digest(self, advance: Callable[[int], object]) -> str:
        digest = hashlib.sha256()
        self._file.seek(0)
        while block := self._file.read(BLOCK):
            digest.update(block)
            advance(len(block))
        return digest.hexdigest()

    def publish(self, target: Path, mode: int = 0o644, owner: tuple[int, int] = (-1, -1)) -> None:
        """Sync the file and rename it to its target, which is replaced.

        The owner is a user and a group as for chown(2), where -1 means unchanged.
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
        with contextlib.suppress(OSError):  # a failed flush does not matter
            self._file.close()

    def __enter__(self) -> PartFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._file.closed:
            self.discard()


class _KeptPart(PartFile):
    """A part file that is kept after an interruption, so that the next attempt resumes."""

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
    """Open the kept part file of ``key``, with the data of an earlier attempt.

    While another process writes it, return a new part file that is not kept.
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
            os.close(descriptor)  # it was published or swept before it was locked


def check_space(path: Path, size: int) -> None:
    """Raises `NoSpaceError` when ``size`` more bytes do not fit on the disk of a path."""
    with disk_errors(path):
        free = shutil.disk_usage(path).free
    if size > free:
        raise NoSpaceError(
            f"{path}: not enough space: {size} bytes needed, {free} free", hint="Free some space, or use another disk."
        )


def _locked_file(directory: Path) -> tuple[int, Path]:
    """Create and lock a new file; try again when a `sweep` locked it first."""
    while True:
        descriptor, path = tempfile.mkstemp(prefix=_PREFIX, dir=directory)
        if locks.attempt(descriptor) and os.fstat(descriptor).st_nlink:
            return descriptor, Path(path)
        os.close(descriptor)


def write_file(target: Path, data: bytes, mode: int = 0o644, owner: tuple[int, int] = (-1, -1)) -> None:
    """Replace a small file atomically; leftovers of killed processes beside it are deleted."""
    with disk_errors(target):
        sweep(target.parent)
    with PartFile(target.parent) as part:
        part.write(data)
        part.publish(target, mode, owner)


def is_part(path: Path) -> bool:
    """Whether a file is a part file, in use or left behind."""
    return path.name.startswith((_PREFIX, _KEPT_PREFIX))


def sweep(directory: Path, kept_seconds: float = KEPT_SECONDS) -> None:
    """Delete part files of killed processes.

    Locked files stay, and for ``kept_seconds`` those that the next attempt can resume.
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
