"""A walk through a container's files that reads the stat(2) data of every entry, and no content.

The walk sorts the names of a directory, so that two walks over the same entries have the same order. An entry that vanishes
during the walk is left out; its directory then has another time of change.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from bundler.errors import ModelError
from bundler.format import paths
from bundler.ports import Seen

Parent = Callable[[str], AbstractContextManager[tuple[int, bytes]]]
"""Opens the parent directory of a path; gives it with the name of the path in it."""

WALK = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_DIRECTORY
"""How a directory is opened that is reached from its parent."""
_BLOCK = 512  # the unit of st_blocks on every file system (stat(2))
_STATE = (modes.S_IFREG, modes.S_IFLNK, modes.S_IFDIR)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)


@contextmanager
def open_parent(root: int, path: str) -> Iterator[tuple[int, bytes]]:
    """Open the parent directory of a path below ``root``; gives it with the name in it. A link among the parents is an error."""
    *above, name = paths.to_bytes(path).split(b"/")[1:]
    descriptor = os.dup(root)
    try:
        for part in above:
            descriptor, outer = os.open(part, WALK, dir_fd=descriptor), descriptor
            os.close(outer)
        yield descriptor, name
    finally:
        os.close(descriptor)


def survey(parent: Parent, exports: Sequence[str], ignored: Callable[[str], bool]) -> Generator[Seen]:
    """Yield everything at and below these paths, in walking order, except ignored paths and what lies below them."""
    linked: set[tuple[int, int]] = set()
    for export in exports:
        if not ignored(export):
            try:
                with parent(export) as (directory, name):
                    yield from _below(directory, name, export, ignored, linked)
            except OSError as error:
                if error.errno not in _GONE:
                    raise _failed(export, error) from error


def _below(directory: int, name: bytes, path: str, ignored: Callable[[str], bool], linked: set[tuple[int, int]]) -> Generator[Seen]:
    """Yield an entry and all below it; the walk is a loop, because directories can be deeper than Python's stack."""
    open_directories: list[tuple[int, str, list[bytes]]] = [(os.dup(directory), path.rpartition("/")[0], [name])]
    try:
        while open_directories:
            descriptor, above, names = open_directories[-1]
            if not names:
                os.close(descriptor)
                open_directories.pop()
                continue
            name = names.pop()
            below = f"{above}/{paths.from_bytes(name)}"
            if ignored(below):
                continue
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                yield _seen(below, status, linked)
                if modes.S_ISDIR(status.st_mode):
                    opened = os.open(name, WALK, dir_fd=descriptor)
                    children: list[bytes] = []
                    open_directories.append((opened, below, children))
                    with os.scandir(opened) as listed:
                        children.extend(sorted((os.fsencode(child.name) for child in listed), reverse=True))
            except OSError as error:
                if error.errno not in _GONE:
                    raise _failed(below, error) from error
    finally:
        for descriptor, _, _ in open_directories:
            os.close(descriptor)


def _seen(path: str, status: os.stat_result, linked: set[tuple[int, int]]) -> Seen:
    kind = modes.S_IFMT(status.st_mode)
    if kind not in _STATE:  # data through a FIFO or a device changes its times, but is not state
        return Seen(path, kind, 0, 0, 0, status.st_ino, 0, 0)
    size = allocated = 0
    if kind == modes.S_IFREG:
        size, allocated = status.st_size, min(status.st_size, status.st_blocks * _BLOCK)
        if status.st_nlink > 1:
            inode = status.st_dev, status.st_ino
            if inode in linked:
                size = allocated = 0
            linked.add(inode)
    return Seen(path, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, size, allocated)


def _failed(path: str, error: OSError) -> ModelError:
    return ModelError(f"cannot read {paths.encode(path)}: {error.strerror}")
