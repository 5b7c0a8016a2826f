"""Directories that are reached by descriptors alone: one name at a time, and never through a symbolic link (openat(2))."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from errno import ELOOP
from pathlib import Path

Names = tuple[bytes, ...]
"""A path below a directory: the names on the way, none of which is empty, ``.`` or ``..``."""

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = 100
"""Directories of one walk that stay open; those further down are opened again when they are needed."""


def open_directory(name: bytes | Path, parent: int | None = None) -> int:
    """Open a directory; raises ``NotADirectoryError`` for a symbolic link, too."""
    try:
        return os.open(name, _OPEN, dir_fd=parent)
    except OSError as error:
        if error.errno == ELOOP:
            raise NotADirectoryError(error.errno, "is a symbolic link", name) from error
        raise


class Walk:
    """A position below a directory. Paths that are asked for in walking order are cheap.

    With ``create`` missing directories are created for this user alone.
    """

    def __init__(self, top: int, *, create: bool = False) -> None:
        self._top = top
        self._create = create
        self._names: list[bytes] = []
        self._open: list[int] = []  # the first directories on the way, at most `_KEPT`
        self._passed: list[tuple[int, int]] = []  # device and number of each directory below these
        self._last: int | None = None  # the directory at the position, when it is one of these

    def enter(self, names: Names) -> int:
        """Return the descriptor of a directory, valid until the next call.

        Raises ``FileNotFoundError`` and ``NotADirectoryError``.
        """
        common = 0
        for wanted, entered in zip(names, self._names, strict=False):
            if wanted != entered:
                break
            common += 1
        self._leave(common)
        for name in names[len(self._names) :]:
            self._down(name)
        return self._current

    @property
    def depth(self) -> int:
        """The number of names down to the position; after an error the one that follows them could not be entered."""
        return len(self._names)

    def close(self) -> None:
        self._leave(0)

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _current(self) -> int:
        if self._last is not None:
            return self._last
        return self._open[-1] if self._open else self._top

    def _leave(self, depth: int) -> None:
        while self._last is not None and len(self._names) > depth:
            self._last = self._above(self._last, is_needed=depth > _KEPT)
        if self._last is None:
            while len(self._open) > depth:
                os.close(self._open.pop())
            del self._names[min(depth, len(self._open)) :]

    def _above(self, last: int, *, is_needed: bool) -> int | None:
        """Leave the last directory for the one above it; None, for the last one that is open, when that was moved meanwhile."""
        above = os.open(b"..", _OPEN, dir_fd=last) if is_needed else None
        os.close(last)
        if above is not None and _identity(above) == self._passed[-2]:
            self._names.pop()
            self._passed.pop()
            return above
        if above is not None:
            os.close(above)
        del self._names[_KEPT:]
        self._passed.clear()
        return None

    def _down(self, name: bytes) -> None:
        parent = self._current
        if self._create:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
        opened = open_directory(name, parent)
        if len(self._open) < _KEPT:
            self._open.append(opened)
        else:
            if self._last is not None:
                os.close(self._last)
            self._last = opened
            self._passed.append(_identity(opened))
        self._names.append(name)


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def children(directory: int) -> list[bytes]:
    """Return the names in a directory, in the order of their bytes."""
    return sorted(map(os.fsencode, os.listdir(directory)))


def is_directory(name: bytes, parent: int) -> bool:
    """Whether a name is a directory itself, not a link to one."""
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def remove(name: bytes, parent: int) -> None:
    """Remove a file or a tree, of any depth, without leaving the directory; it need not exist."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), Walk(parent) as walk:
        _make_accessible(name, parent)
        pending: list[tuple[Names, Iterator[bytes]]] = [((name,), _names(walk, (name,)))]
        while pending:
            names, left = pending[-1]
            below = next(left, None)
            if below is None:
                pending.pop()
                os.rmdir(names[-1], dir_fd=walk.enter(names[:-1]))
            elif not _unlink(below, here := walk.enter(names)):
                _make_accessible(below, here)
                pending.append(((*names, below), _names(walk, (*names, below))))
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)


def _names(walk: Walk, names: Sequence[bytes]) -> Iterator[bytes]:
    return iter(children(walk.enter(tuple(names))))


def _unlink(name: bytes, parent: int) -> bool:
    """Remove a name; False for a directory."""
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        return False
    return True


def _make_accessible(name: bytes, parent: int) -> None:
    """Give this user access to a directory of its own, as far as it may."""
    with contextlib.suppress(OSError):
        descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if os.fstat(descriptor).st_mode & 0o700 != 0o700:
                os.chmod(f"/proc/self/fd/{descriptor}", 0o700)  # noqa: PTH101, an O_PATH descriptor takes no fchmod
        finally:
            os.close(descriptor)
