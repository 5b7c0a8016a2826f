"""A walk through a container's files that reads no content: what stat(2) tells of every entry.

The walk sorts the names of a directory, so that two walks over the same entries give them in the same order. What vanishes
while it is looked at is left out: its directory then has another time of change.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager

from bundler.errors import ModelError
from bundler.format import paths
from bundler.ports import Seen

Parent = Callable[[str], AbstractContextManager[tuple[int, bytes]]]
"""Opens the directory that a path lies in; gives it with the name that the path has there."""

_WALK = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_DIRECTORY
_BLOCK = 512  # what st_blocks counts, whatever the file system (stat(2))
_STATE = (modes.S_IFREG, modes.S_IFLNK, modes.S_IFDIR)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)


def survey(parent: Parent, exports: Sequence[str], ignored: Callable[[str], bool]) -> Generator[Seen]:
    """Everything at and below these paths, in walking order; what lies below an ignored path is ignored, too."""
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
    """An entry and all below it; the walk is a loop, because directories can be deeper than Python's stack."""
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
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                yield _seen(below, found, linked)
                if modes.S_ISDIR(found.st_mode):
                    opened = os.open(name, _WALK, dir_fd=descriptor)
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


def _seen(path: str, found: os.stat_result, linked: set[tuple[int, int]]) -> Seen:
    kind = modes.S_IFMT(found.st_mode)
    if kind not in _STATE:  # what passes through a FIFO or a device changes its times, and is no state
        return Seen(path, kind, 0, 0, 0, found.st_ino, 0, 0)
    size = allocated = 0
    if kind == modes.S_IFREG:
        size, allocated = found.st_size, min(found.st_size, found.st_blocks * _BLOCK)
        if found.st_nlink > 1:
            inode = found.st_dev, found.st_ino
            if inode in linked:
                size = allocated = 0
            linked.add(inode)
    return Seen(path, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, size, allocated)


def _failed(path: str, error: OSError) -> ModelError:
    return ModelError(f"{paths.encode(path)} cannot be read: {error.strerror}")
