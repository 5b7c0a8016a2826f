"""Reads a running container's own view of its files, through ``/proc/PID/root`` (proc(5)).

The walk uses directory descriptors and follows no link, so that the container cannot redirect it. An entry that changes while
it is read ends the capture.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat as modes
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bundler.engines.survey import WALK, open_parent, survey
from bundler.errors import ModelError
from bundler.format import paths, tar
from bundler.format.tar import Entry, Kind
from bundler.ports import PathInfo, Seen
from bundler.streams import BLOCK, NOTHING, Readable

CAPABILITY = "security.capability"
SMALL = 1 << 20
"""Largest file in bytes that is read in one piece."""
_SECOND = 1_000_000_000  # in nanoseconds

KINDS = {
    modes.S_IFREG: Kind.FILE,
    modes.S_IFLNK: Kind.SYMLINK,
    modes.S_IFCHR: Kind.CHARACTER_DEVICE,
    modes.S_IFBLK: Kind.BLOCK_DEVICE,
    modes.S_IFDIR: Kind.DIRECTORY,
    modes.S_IFIFO: Kind.FIFO,
    modes.S_IFSOCK: Kind.SOCKET,
}
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_HINT = "Pause the model while it is read (without --no-pause), or run the command again."


_Steps = Generator["tuple[Entry, Readable] | _Steps"]


@dataclass(frozen=True)
class Process:
    """The main process of a container; ``started`` is the engine's start time, which identifies one start of the container."""

    pid: int
    started: str


class DirectReader:
    """The files of a running container, as its own main process sees them."""

    sees_all = True
    """It fails at an entry that it cannot read; the engine's archives may omit one."""

    def __init__(self, root: int, *, extended: bool = False) -> None:
        self._root = root
        self._extended = extended

    @classmethod
    def of(cls, container_id: str, process: Callable[[], Process | None], *, extended: bool) -> DirectReader | None:
        """Return a reader, or None if the files cannot be seen exactly: another host, not root, a user namespace.

        The root directory is held open. It is the container's, because the engine reported the same process
        before and after it was opened.
        """
        before = process()
        if not before or not before.pid or os.geteuid() != 0:
            return None
        home = Path("/proc") / str(before.pid)
        with contextlib.suppress(OSError):
            if container_id not in (home / "cgroup").read_text() and container_id not in (home / "mountinfo").read_text():
                return None
            if (home / "uid_map").read_text().split() != ["0", "0", "4294967295"]:
                return None
            if not any(line.split()[4] == "/" for line in (home / "mountinfo").read_text().splitlines()):
                return None  # the process has changed its root to a directory of the container
            root = os.open(home / "root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if process() == before:
                return cls(root, extended=extended)
            os.close(root)
        return None

    def __del__(self) -> None:
        os.close(self._root)

    def stat(self, path: str) -> PathInfo | None:
        try:
            with self._parent(path) as (directory, name):
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                target = _target(directory, name, path) if modes.S_ISLNK(status.st_mode) else None
                return PathInfo(target, modes.S_ISDIR(status.st_mode))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        yielded: set[str] = set()
        for export in exports:
            for above in paths.ancestors(export):
                if above not in yielded:
                    yielded.add(above)
                    with _changes(above), self._parent(above) as (directory, name):
                        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    yield _entry(above, status), NOTHING
            with _changes(export), self._parent(export) as (directory, name):
                yield from _Walk(extended=self._extended).entries(directory, name, export)

    def survey(self, exports: Sequence[str], ignored: Callable[[str], bool]) -> Generator[Seen]:
        return survey(self._parent, exports, ignored)  # which keeps the root open until the end of the walk

    def capacity(self) -> int:
        disk = os.fstatvfs(self._root)
        return disk.f_frsize * disk.f_blocks

    def _parent(self, path: str) -> AbstractContextManager[tuple[int, bytes]]:
        return open_parent(self._root, path)


class _Walk:
    """The walk through one export: an entry and all below it."""

    def __init__(self, *, extended: bool) -> None:
        self._extended = extended
        self._first: dict[tuple[int, int], Entry] = {}  # first entry of every inode with several names

    def entries(self, directory: int, name: bytes, path: str) -> Generator[tuple[Entry, Readable]]:
        walks = [self._walk(directory, name, path)]  # a stack, because nested generators end at Python's recursion limit
        try:
            while walks:
                for step in walks[-1]:
                    if not isinstance(step, tuple):
                        walks.append(step)
                        break
                    yield step
                else:
                    walks.pop()
        finally:
            while walks:
                walks.pop().close()

    def _walk(self, directory: int, name: bytes, path: str) -> _Steps:
        """Yield an entry, and the entries and walks of its content."""
        with _changes(path):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if modes.S_ISDIR(status.st_mode):
            with _opened(directory, name, path, status, WALK) as descriptor:
                yield self._entry(path, status, xattrs=self._xattrs(descriptor, path)), NOTHING
                yield from self._children(descriptor, path)
        elif first := self._first.get((status.st_dev, status.st_ino)):
            # With its capability, as in the engines' archives: unpacking the link sets the owner again, which removes it.
            yield replace(first, path=path, kind=Kind.HARD_LINK, size=0, target=first.path), NOTHING
        elif not modes.S_ISREG(status.st_mode):
            target = _target(directory, name, path) if modes.S_ISLNK(status.st_mode) else ""
            yield self._entry(path, status, target=target), NOTHING
        else:
            with _opened(directory, name, path, status, _READ) as descriptor:
                yield self._file(descriptor, path, status), _Content(descriptor, path)

    def _children(self, directory: int, path: str) -> _Steps:
        with _changes(path), os.scandir(directory) as listed:
            children = sorted((os.fsencode(child.name), child.is_file(follow_symlinks=False)) for child in listed)
        for name, is_file in children:
            below = paths.join(path, paths.from_bytes(name))
            small = self._small(directory, name, below) if is_file else None
            if small:
                yield small
            else:
                yield self._walk(directory, name, below)

    def _small(self, directory: int, name: bytes, path: str) -> tuple[Entry, Readable] | None:
        """Read a file with one name in one piece, or return None; most files are such, so this is the fast path."""
        try:
            descriptor = os.open(name, _READ, dir_fd=directory)
            try:
                status = os.fstat(descriptor)
                if status.st_size > SMALL or status.st_nlink > 1 or not modes.S_ISREG(status.st_mode):
                    return None
                content = os.read(descriptor, status.st_size + 1)
                entry = self._file(descriptor, path, status)
                now = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _failed(path, error) from error
        if len(content) != status.st_size or not _is_same(now, status):
            raise _changed(path)
        return entry, io.BytesIO(content)

    def _file(self, descriptor: int, path: str, status: os.stat_result) -> Entry:
        capability = _capability(descriptor, path)
        return self._entry(path, status, size=status.st_size, capability=capability, xattrs=self._xattrs(descriptor, path))

    def _entry(self, path: str, status: os.stat_result, **more: Any) -> Entry:
        nanoseconds = status.st_mtime_ns % _SECOND if self._extended else 0
        entry = _entry(path, status, nanoseconds=nanoseconds, alone=status.st_nlink == 1, **more)
        if status.st_nlink > 1 and entry.kind is not Kind.DIRECTORY:
            self._first[status.st_dev, status.st_ino] = entry
        return entry

    def _xattrs(self, descriptor: int, path: str) -> tuple[tuple[str, bytes], ...]:
        return _user_xattrs(descriptor, path) if self._extended else ()


def _entry(path: str, status: os.stat_result, **more: Any) -> Entry:
    """Make an entry of stat(2) data and further fields."""
    return Entry(
        path,
        KINDS[modes.S_IFMT(status.st_mode)],
        modes.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns // _SECOND,
        **more,
    )


class _Content:
    """The content of an open file."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path

    def read(self, size: int = -1, /) -> bytes:
        with _changes(self._path):
            return os.read(self._descriptor, size if size >= 0 else BLOCK)

    def skip_hole(self, unit: int, most: int, /) -> int:
        with _changes(self._path):
            start = os.lseek(self._descriptor, 0, os.SEEK_CUR)
            try:
                data = os.lseek(self._descriptor, start, os.SEEK_DATA)
            except OSError as error:
                if error.errno not in (errno.ENXIO, errno.EINVAL, errno.EOPNOTSUPP):
                    raise
                # ENXIO: a hole up to the end (lseek(2)). The others: the file system does not report holes.
                data = start + most if error.errno == errno.ENXIO else start
            skipped = min(data - start, most) // unit * unit
            os.lseek(self._descriptor, start + skipped, os.SEEK_SET)
            return skipped


@contextmanager
def _opened(directory: int, name: bytes, path: str, status: os.stat_result, flags: int) -> Iterator[int]:
    """Open an entry; it must match its stat(2) data before and after it was read."""
    with _changes(path):
        descriptor = os.open(name, flags, dir_fd=directory)
    try:
        _check(descriptor, status, path)
        yield descriptor
        _check(descriptor, status, path)
    finally:
        os.close(descriptor)


def _check(descriptor: int, status: os.stat_result, path: str) -> None:
    with _changes(path):
        now = os.fstat(descriptor)
    if not _is_same(now, status):
        raise _changed(path)


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_mtime_ns, one.st_size, one.st_ino, one.st_dev, one.st_mode) == (
        other.st_mtime_ns,
        other.st_size,
        other.st_ino,
        other.st_dev,
        other.st_mode,
    )


def _target(directory: int, name: bytes, path: str) -> str:
    with _changes(path):
        return paths.from_bytes(os.readlink(name, dir_fd=directory))


def _capability(descriptor: int, path: str) -> bytes:
    if CAPABILITY not in _names(descriptor, path):
        return b""
    with _changes(path):
        value = os.getxattr(descriptor, CAPABILITY)
    # Revision 3 names the root of a user namespace, which is meaningless on another host (capabilities(7)). The engines'
    # archives convert it to revision 2; so does this.
    return value[:3] + b"\2" + value[4:20] if value[3:4] == b"\3" else value


def _user_xattrs(descriptor: int, path: str) -> tuple[tuple[str, bytes], ...]:
    names = [name for name in _names(descriptor, path) if name.startswith("user.") and not name.startswith(tar.OVERLAY_XATTR)]
    with _changes(path):
        xattrs = tuple((name, os.getxattr(descriptor, name)) for name in sorted(names))
    if unsupported := [name for name, value in xattrs if not tar.is_tellable(name, value)]:
        raise ModelError(
            f"no layer can hold the attribute {unsupported[0]!r} of {paths.encode(path)}: it is empty, or its name is not allowed",
            hint="Change it in the model, or push without --extended.",
        )
    return xattrs


def _names(descriptor: int, path: str) -> list[str]:
    """Return the names of an open file's extended attributes; none if the file system does not support them."""
    try:
        return os.listxattr(descriptor)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise _failed(path, error) from error


@contextmanager
def _changes(path: str) -> Iterator[None]:
    """Convert an `OSError`: an entry that vanished or became a link changed while it was read."""
    try:
        yield
    except OSError as error:
        raise _failed(path, error) from error


def _failed(path: str, error: OSError) -> ModelError:
    if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ESTALE, errno.ENODATA):
        return _changed(path)
    return ModelError(f"cannot read {paths.encode(path)}: {error.strerror}")


def _changed(path: str) -> ModelError:
    return ModelError(f"{paths.encode(path)} changed while it was read", hint=_HINT)
