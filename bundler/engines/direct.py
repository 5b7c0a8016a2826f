"""Reads a running container's own view of its files, through ``/proc/PID/root`` (proc(5)).

The walk goes by directory descriptors and follows no link, so that nothing that the container does can lead
it elsewhere; what changes under the reader's eyes ends the capture.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat as modes
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import ModelError
from bundler.format import paths
from bundler.format.content import BLOCK, NOTHING, Readable
from bundler.format.tar import Entry, Kind
from bundler.ports import PathInfo

CAPABILITY = "security.capability"

_KINDS = {
    modes.S_IFREG: Kind.FILE,
    modes.S_IFLNK: Kind.SYMLINK,
    modes.S_IFCHR: Kind.CHARACTER_DEVICE,
    modes.S_IFBLK: Kind.BLOCK_DEVICE,
    modes.S_IFDIR: Kind.DIRECTORY,
    modes.S_IFIFO: Kind.FIFO,
    modes.S_IFSOCK: Kind.SOCKET,
}
_WALK = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_DIRECTORY
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_HINT = "Let the model stand still while it is read (without --no-pause), or run the command again."


@dataclass(frozen=True)
class Process:
    """The main process of a container; ``started`` is the engine's word for which start of the container it is."""

    pid: int
    started: str


class DirectReader:
    """The files of a running container, as its own main process sees them."""

    def __init__(self, root: int) -> None:
        self._root = root

    @classmethod
    def of(cls, container_id: str, process: Callable[[], Process | None]) -> DirectReader | None:
        """A reader, or None where the files cannot be seen exactly: another host, not root, a user namespace.

        The root directory is held open. It is the container's, because the engine named the same process
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
                return None  # it has changed its root to somewhere below the container's
            root = os.open(home / "root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if process() == before:
                return cls(root)
            os.close(root)
        return None

    def __del__(self) -> None:
        os.close(self._root)

    def stat(self, path: str) -> PathInfo | None:
        try:
            with self._parent(path) as (directory, name):
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
                return PathInfo(_target(directory, name, path) if modes.S_ISLNK(found.st_mode) else None)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        known: set[str] = set()
        for export in exports:
            for above in paths.ancestors(export):
                if above not in known:
                    known.add(above)
                    with _changes(above), self._parent(above) as (directory, name):
                        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    yield _entry(above, found, Kind.DIRECTORY), NOTHING
            with _changes(export), self._parent(export) as (directory, name):
                yield from _walk(directory, name, export, {})

    @contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, bytes]]:
        """The open directory that a path lies in, and its name there; a link among the parents is an error."""
        *above, name = paths.to_bytes(path).split(b"/")[1:]
        descriptor = os.dup(self._root)
        try:
            for part in above:
                descriptor, outer = os.open(part, _WALK, dir_fd=descriptor), descriptor
                os.close(outer)
            yield descriptor, name
        finally:
            os.close(descriptor)


def _walk(directory: int, name: bytes, path: str, seen: dict[tuple[int, int], Entry]) -> Generator[tuple[Entry, Readable]]:
    """An entry and all below it. ``seen`` has the first entry of every inode that has several names."""
    with _changes(path):
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        kind = _KINDS[modes.S_IFMT(found.st_mode)]
    if kind is Kind.DIRECTORY:
        yield from _walk_directory(directory, name, path, found, seen)
        return
    inode = found.st_dev, found.st_ino
    if first := seen.get(inode):
        # With the capability, as in the engines' archives: who makes the link sets the owner again, which takes it away.
        yield _entry(path, found, Kind.HARD_LINK, target=first.path, capability=first.capability), NOTHING
    elif kind is Kind.FILE:
        with _File(directory, name, path, found) as file:
            if found.st_nlink > 1:
                seen[inode] = file.entry
            yield file.entry, file
            file.check_end()
    else:
        entry = _entry(path, found, kind, target=_target(directory, name, path) if kind is Kind.SYMLINK else "")
        if found.st_nlink > 1:
            seen[inode] = entry
        yield entry, NOTHING


def _walk_directory(
    directory: int, name: bytes, path: str, found: os.stat_result, seen: dict[tuple[int, int], Entry]
) -> Generator[tuple[Entry, Readable]]:
    yield _entry(path, found, Kind.DIRECTORY), NOTHING
    with _changes(path):
        descriptor = os.open(name, _WALK, dir_fd=directory)
    try:
        with _changes(path):
            _same(os.fstat(descriptor), found, path)
            names = sorted(os.fsencode(child) for child in os.listdir(descriptor))  # noqa: PTH208 - of a descriptor
        for child in names:
            yield from _walk(descriptor, child, paths.join(path, paths.from_bytes(child)), seen)
        with _changes(path):
            if os.fstat(descriptor).st_mtime_ns != found.st_mtime_ns:
                raise _changed(path)
    finally:
        os.close(descriptor)


class _File:
    """An open file of the state, that must stay as it was when it was found."""

    def __init__(self, directory: int, name: bytes, path: str, found: os.stat_result) -> None:
        self._path = path
        self._found = found
        with _changes(path):
            self._descriptor = os.open(name, _READ, dir_fd=directory)
            _same(os.fstat(self._descriptor), found, path)
            self.entry = _entry(path, found, Kind.FILE, size=found.st_size, capability=_capability(self._descriptor))

    def read(self, size: int = -1, /) -> bytes:
        with _changes(self._path):
            return os.read(self._descriptor, size if size >= 0 else BLOCK)

    def check_end(self) -> None:
        with _changes(self._path):
            now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self._found.st_size, self._found.st_mtime_ns):
            raise _changed(self._path)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _entry(path: str, found: os.stat_result, kind: Kind, *, size: int = 0, target: str = "", capability: bytes = b"") -> Entry:
    return Entry(
        path=path,
        kind=kind,
        mode=modes.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        mtime=found.st_mtime_ns // 1_000_000_000,
        size=size,
        target=target,
        capability=capability,
    )


def _target(directory: int, name: bytes, path: str) -> str:
    with _changes(path):
        return paths.from_bytes(os.readlink(name, dir_fd=directory))


def _capability(descriptor: int) -> bytes:
    try:
        value = os.getxattr(descriptor, CAPABILITY)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return b""
        raise
    # Revision 3 names the root of a user namespace, which means nothing elsewhere (capabilities(7)): the engines'
    # archives make revision 2 of it, and so do we.
    return value[:3] + b"\2" + value[4:20] if value[3:4] == b"\3" else value


def _same(now: os.stat_result, found: os.stat_result, path: str) -> None:
    if (now.st_dev, now.st_ino, modes.S_IFMT(now.st_mode)) != (found.st_dev, found.st_ino, modes.S_IFMT(found.st_mode)):
        raise _changed(path)


@contextmanager
def _changes(path: str) -> Iterator[None]:
    """What vanishes or turns into a link between two looks has changed while it was read."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ESTALE):
            raise _changed(path) from error
        raise ModelError(f"{paths.encode(path)} cannot be read: {error.strerror}") from error


def _changed(path: str) -> ModelError:
    return ModelError(f"{paths.encode(path)} changed while it was read", hint=_HINT)
