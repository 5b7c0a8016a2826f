"""A hidden directory in which a tree is prepared; all of it is on the disk before its files get their names.

The directory lies in the one that gets the files, so that a rename is enough. What a killed process left in it is removed by
the next run. Everything is reached by descriptors (`walk`), so nothing is written outside, whatever another process
does with the names meanwhile.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EBUSY, EINVAL, ENOSYS, EXDEV
from pathlib import Path

from bundler.errors import BusyError, TrustError, UsageError, disk_errors
from bundler.localfs import locks, walk
from bundler.localfs.walk import Names, Walk

NAME = b".fps-bundle-extract"
"""The name of the hidden directory."""

_LOCK, _TREE, _REMOVED = b"lock", b"tree", b"removed"
_RENAME_NOREPLACE = 1
_libc = ctypes.CDLL(None, use_errno=True)


def real_directory(path: Path) -> Path:
    """Return the absolute path of a directory without links above it; raises `UsageError` for a link itself."""
    with disk_errors(path):
        if path.is_symlink():
            raise _link(path)
        return Path(os.path.realpath(path))


@contextmanager
def opened_directory(path: Path) -> Iterator[int | None]:
    """Open the directory that gets files; None where it does not exist yet. Raises `UsageError` for anything but a directory."""
    descriptor = _open(path)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def has_files(path: Path) -> bool:
    """Whether a directory has anything in it, and no run was interrupted there; new file systems have ``lost+found``."""
    with opened_directory(path) as directory:
        found = set(walk.children(directory)) - {b"lost+found"} if directory is not None else set()
    return bool(found) and NAME not in found


def _open(path: Path) -> int | None:
    with disk_errors(path):
        try:
            return walk.open_directory(path)
        except FileNotFoundError as error:
            if path.parent.is_dir():
                return None
            raise UsageError(
                f"{path} cannot be created: {path.parent} does not exist", hint="Create that directory first."
            ) from error
        except NotADirectoryError as error:
            if path.is_symlink():
                raise _link(path) from error
            raise UsageError(f"{path} is not a directory", hint="Name a directory, or one that does not exist yet.") from error


def _link(path: Path) -> UsageError:
    return UsageError(f"{path} is a symbolic link", hint=f"Name the directory that it leads to: {os.path.realpath(path)}")


class Staging:
    """The hidden directory of one run, with the prepared ``tree``; made by `staged`."""

    def __init__(self, path: Path, top: int, own: int) -> None:
        self.path = path
        self.top = top
        self.moved = 0
        """How many names were given."""
        self._own = own
        self._count = 0
        self.tree, self._removed = (self._new(name) for name in (_TREE, _REMOVED))

    def _new(self, name: bytes) -> int:
        """Create a directory; what an interrupted run left there is removed first."""
        walk.remove(name, self._own)
        os.mkdir(name, 0o700, dir_fd=self._own)
        return walk.open_directory(name, self._own)

    def close(self) -> None:
        """Remove all that is left in the hidden directory."""
        for descriptor in (self.tree, self._removed):
            os.close(descriptor)
        for name in (_TREE, _REMOVED):
            with contextlib.suppress(OSError):
                walk.remove(name, self._own)

    def sync(self) -> None:
        """Write everything to the disk that was prepared (syncfs(2))."""
        with disk_errors(self.path):
            if _libc.syncfs(self.tree):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def publish(self, *, overwrite: bool, advance: Callable[[int], object]) -> None:
        """Give everything in the tree its name; a new directory gets its name together with all that is in it.

        Directories that exist stay, and other files are replaced only with ``overwrite``. Raises `BusyError` when another
        process has put something in the place of a new name. Names are given in walking order.
        """
        with Walk(self.tree) as source, Walk(self.top) as target:
            pending: list[tuple[Names, Iterator[bytes]]] = [((), iter(walk.children(self.tree)))]
            while pending:
                names, left = pending[-1]
                name = next(left, None)
                if name is None:
                    pending.pop()
                    with disk_errors(self.shown(names)):
                        os.fsync(self._enter(target, names))
                    continue
                below = (*names, name)
                with disk_errors(self.shown(below)):
                    if self._move(below, source.enter(names), self._enter(target, names), overwrite=overwrite):
                        self.moved += 1
                        advance(1)
                    else:
                        pending.append((below, iter(walk.children(source.enter(below)))))

    def remove(self, names: Names) -> bool:
        """Remove a file or a tree by one rename, out of reach; False where there is none."""
        with disk_errors(self.shown(names)), Walk(self.top) as target:
            try:
                parent = target.enter(names[:-1])
                os.rename(names[-1], b"%d" % self._count, src_dir_fd=parent, dst_dir_fd=self._removed)
            except (FileNotFoundError, NotADirectoryError):
                return False
            except OSError as error:
                if error.errno in (EBUSY, EXDEV):
                    raise self._other_file_system(names) from error
                raise
            self._count += 1
            os.fsync(parent)
        return True

    def shown(self, names: Names) -> str:
        """Return a path for messages."""
        return str(self.path.joinpath(*map(os.fsdecode, names)))

    def _enter(self, target: Walk, names: Names) -> int:
        try:
            return target.enter(names)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self.race(names, "is no longer a directory") from error

    def _move(self, names: Names, source: int, target: int, *, overwrite: bool) -> bool:
        """Move one name; False where both are directories."""
        name = names[-1]
        try:
            _rename_new(name, source, target)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno == EXDEV:
                raise self._other_file_system(names) from error
            raise
        else:
            return True
        kinds = [walk.is_directory(name, parent) for parent in (source, target)]
        if all(kinds):
            return False
        if any(kinds) or not overwrite:
            raise self.race(names, "appeared")
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        return True

    def race(self, names: Names, what: str) -> BusyError:
        """Return the error for a path that another process has changed."""
        return BusyError(
            f"{self.shown(names)} {what} while the bundle was extracted: another process changes this directory",
            hint="Check what writes there, then run the same command again.",
        )

    def _other_file_system(self, names: Names) -> UsageError:
        return UsageError(
            f"{self.shown(names)} lies on another file system than {self.path}",
            hint="Extract what belongs there in a run for that directory, with PATH and --strip.",
        )


@contextmanager
def staged(path: Path, top: int) -> Iterator[Staging]:
    """Hold the hidden directory in a directory during the block; raises `BusyError` while another run has it.

    It is removed after the block, with everything that has not got its name.
    """
    with disk_errors(path):
        own, lock = _locked(path, top)
        try:
            staging = Staging(path, top, own)
            try:
                yield staging
            finally:
                staging.close()
        finally:
            with contextlib.suppress(OSError):
                os.unlink(_LOCK, dir_fd=own)
                os.rmdir(NAME, dir_fd=top)
            os.close(lock)
            os.close(own)


def is_left(top: int) -> bool:
    """Whether a directory has the hidden directory of another run in it."""
    with contextlib.suppress(FileNotFoundError):
        os.stat(NAME, dir_fd=top, follow_symlinks=False)
        return True
    return False


def _locked(path: Path, top: int) -> tuple[int, int]:
    """Return the hidden directory, created if missing, and the file that locks it."""
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(NAME, 0o700, dir_fd=top)
        try:
            own = walk.open_directory(NAME, top)
        except FileNotFoundError:
            continue  # another run has just ended
        except NotADirectoryError:
            raise _not_ours(path) from None
        try:
            found = os.fstat(own)
            if found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise _not_ours(path)
            lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=own)
        except FileNotFoundError:
            os.close(own)
            continue
        except BaseException:
            os.close(own)
            raise
        try:
            locks.acquire(lock, f"the directory {path}", 0)
        except BaseException:
            os.close(lock)
            os.close(own)
            raise
        if os.fstat(lock).st_nlink and os.fstat(own).st_nlink:
            return own, lock
        os.close(lock)
        os.close(own)


def _not_ours(path: Path) -> TrustError:
    place = path / os.fsdecode(NAME)
    return TrustError(
        f"{place} is not a private directory of this user",
        hint="Check its content, then move it away:",
        command=f"mv {shlex.quote(str(place))} {shlex.quote(f'{place}.old')}",
    )


def _rename_new(name: bytes, source: int, target: int) -> None:
    """Rename to a name that must be free; raises ``FileExistsError``."""
    if not _libc.renameat2(source, name, target, name, _RENAME_NOREPLACE):
        return
    number = ctypes.get_errno()
    if number not in (EINVAL, ENOSYS):
        raise OSError(number, os.strerror(number))
    # The file system has no such rename (renameat2(2)).
    with contextlib.suppress(FileNotFoundError):
        os.stat(name, dir_fd=target, follow_symlinks=False)
        raise FileExistsError(name)
    os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
