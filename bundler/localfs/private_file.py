"""Files that decisions depend on: read and written only where no other user could have put them."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Callable
from errno import EISDIR, ELOOP, ENXIO
from pathlib import Path

from bundler.errors import TrustError, disk_errors

MAX_SIZE = 64 << 20
"""Bytes of the largest file that is read; a KRL of a million serial numbers has some 9 MB."""

_NO_FILE = frozenset({ELOOP, EISDIR, ENXIO})
"""Errors from opening a link, a directory, a socket or a FIFO."""


def expanded(path: str | Path) -> Path:
    """Expand ``~`` in a path; unlike pathlib, this does not raise for an unknown user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def read(path: Path, what: str) -> bytes:
    """Read a file that only root and this user can change or remove; raises `TrustError` and ``FileNotFoundError``."""
    return _read(path, what, owners={0, os.geteuid()}, forbidden=0o022, flags=0)


def read_private(path: Path, what: str) -> bytes:
    """Read a file, not a link, that only this user can access; raises `TrustError` and ``FileNotFoundError``."""
    return _read(path, what, owners={os.geteuid()}, forbidden=0o077, flags=os.O_NOFOLLOW)


def open_file(path: Path, flags: int) -> int:
    """Do as `open_plain`; also raises `TrustError` for another user's file."""
    return _opened(path, flags, _check_ours)


def open_plain(path: Path, flags: int) -> int:
    """Open a plain file, created with private mode; never follows a link or waits at a FIFO.

    Raises `TrustError` for another kind of file, `StoreError` when opening fails, and ``FileNotFoundError``.
    """
    return _opened(path, flags, _check_plain)


def _opened(path: Path, flags: int, check: Callable[[os.stat_result, Path], None]) -> int:
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _NO_FILE:
            raise _no_file(path) from error
        with disk_errors(path):
            raise
    try:
        check(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_file(path: Path) -> None:
    """Raises `TrustError` for what stands in the place of a file of ours and is none; nothing may be there."""
    with disk_errors(path), contextlib.suppress(FileNotFoundError):
        _check_ours(path.lstat(), path)


def make_directory(path: Path, *, may_be_link: bool = False) -> None:
    """Create a private directory with its parents; raises `TrustError` when other users can write to it."""
    with disk_errors(path):
        for missing in [above for above in (*reversed(path.parents), path) if not (above.exists() or above.is_symlink())]:
            missing.mkdir(mode=0o700, exist_ok=True)
        check_directory(path, may_be_link=may_be_link)


def check_directory(path: Path, *, may_be_link: bool = False) -> None:
    """Raises `TrustError` unless it is a directory that only this user or root can change; also ``FileNotFoundError``.

    A link to a directory is accepted only with ``may_be_link``; link and directory must both pass.
    """
    check_is_directory(path, may_be_link=may_be_link)
    if any(it.st_uid not in (0, os.geteuid()) for it in (path.lstat(), path.stat())):
        raise TrustError(f"{path} belongs to another user", hint="Check its content, then move it away:", command=_move(path))
    if path.stat().st_mode & 0o022:
        raise TrustError(
            f"other users can change what is in {path}", hint="Check its content, then run:", command=f"chmod go-w {path}"
        )


def check_is_directory(path: Path, *, may_be_link: bool = False) -> None:
    """Raises `TrustError` unless it is a directory, and ``FileNotFoundError``."""
    if stat.S_ISLNK(path.lstat().st_mode) and not may_be_link:
        raise TrustError(f"{path} is a symbolic link, not a directory", hint="Move it away:", command=_move(path))
    if not path.is_dir():
        raise TrustError(f"{path} is not a directory", hint="Move it away:", command=_move(path))


def _check_plain(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _no_file(path)


def _check_ours(found: os.stat_result, path: Path) -> None:
    _check_plain(found, path)
    if found.st_uid not in (0, os.geteuid()):
        raise TrustError(f"{path} belongs to another user", hint="Check its content, then move it away:", command=_move(path))


def _no_file(path: Path) -> TrustError:
    return TrustError(f"{path} is not a plain file", hint="Move it away:", command=_move(path))


def _move(path: Path) -> str:
    return f"mv {shlex.quote(str(path))} {shlex.quote(f'{path}.old')}"


def _read(path: Path, what: str, owners: set[int], forbidden: int, flags: int) -> bytes:
    try:
        for directory in (path.parent, Path(os.path.realpath(path)).parent):
            _check_directory(directory, what)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
        with os.fdopen(descriptor, "rb") as file:
            _check(os.fstat(descriptor), path, what, owners, forbidden)
            data = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        if path.is_symlink():
            raise TrustError(f"{what} {path} is a dangling link", hint="Create the file, or remove the link.") from None
        raise
    except OSError as error:
        raise TrustError(f"{what} {path} cannot be read: {error.strerror}", hint="Check the file and its permissions.") from error
    if len(data) > MAX_SIZE:
        raise TrustError(f"{what} {path} is larger than {MAX_SIZE} bytes")
    return data


def _check_directory(path: Path, what: str) -> None:
    """Raises `TrustError` for a directory where other users could remove the file; in a sticky one they cannot (unlink(2))."""
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()):
        raise TrustError(
            f"{what} is in {path}, which belongs to another user", hint="Move it to where only you and root can write."
        )
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        raise TrustError(f"other users can change {what} in {path}", hint=f"Check its content, then run: chmod go-w {path}")


def _check(found: os.stat_result, path: Path, what: str, owners: set[int], forbidden: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise TrustError(f"{what} {path} is not a plain file", hint="Move it away:", command=_move(path))
    if found.st_uid not in owners:
        raise TrustError(f"{what} {path} belongs to another user", hint=f"Run: chown {os.geteuid()} {path}")
    if found.st_mode & forbidden:
        mode = "go-w" if forbidden == 0o022 else "go-rwx"
        raise TrustError(f"other users can change {what} {path}", hint=f"Check its content, then run: chmod {mode} {path}")
