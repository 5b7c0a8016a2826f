"""Files by which we decide: read, and written, only where nobody else could have put them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bundler.errors import TrustError, disk_errors

MAX_SIZE = 64 << 20
"""Bytes of the largest file that is read; a KRL of a million serial numbers has some 9 MB."""


def expanded(path: str | Path) -> Path:
    """A path with ``~`` expanded; unlike that of pathlib, this raises nothing for a user who does not exist."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def read(path: Path, what: str) -> bytes:
    """A file of root's or ours that nobody else can write or take away; raises `TrustError`, and `FileNotFoundError`."""
    return _read(path, what, owners={0, os.geteuid()}, forbidden=0o022, flags=0)


def read_private(path: Path, what: str) -> bytes:
    """A file of ours alone, and no link to one; raises `TrustError`, and `FileNotFoundError`."""
    return _read(path, what, owners={os.geteuid()}, forbidden=0o077, flags=os.O_NOFOLLOW)


def make_directory(path: Path) -> None:
    """Make a directory of ours alone, and those above it that lack; raises `TrustError` where others can write in it.

    What is in one needs no further look: whoever could have put a link there is us.
    """
    with disk_errors(path):
        for missing in [above for above in (*reversed(path.parents), path) if not above.exists()]:
            missing.mkdir(mode=0o700, exist_ok=True)
        check_directory(path)


def check_directory(path: Path) -> None:
    """Raises `TrustError` for a directory, or a link to one, that somebody else can change, and `FileNotFoundError`."""
    if any(found.st_uid not in (0, os.geteuid()) for found in (path.lstat(), path.stat())):
        raise TrustError(f"{path} belongs to somebody else", hint="Look what is in it, then move it away.")
    if path.stat().st_mode & 0o022:
        raise TrustError(f"others can change what is in {path}", hint=f"Look what is in it, then run: chmod go-w {path}")


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
            raise TrustError(f"{what} {path} is a link to nothing", hint="Put the file there, or remove the link.") from None
        raise
    except OSError as error:
        raise TrustError(f"{what} {path} cannot be read: {error.strerror}", hint="Check the file and its permissions.") from error
    if len(data) > MAX_SIZE:
        raise TrustError(f"{what} {path} is longer than {MAX_SIZE} bytes")
    return data


def _check_directory(path: Path, what: str) -> None:
    """Who can write a directory takes a file away, and with it what it forbids, unless the directory is sticky (unlink(2))."""
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()):
        raise TrustError(f"{what} lies in {path}, which belongs to somebody else", hint="Put it where only you and root can write.")
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        raise TrustError(f"others can change {what} in {path}", hint=f"Look what is in it, then run: chmod go-w {path}")


def _check(found: os.stat_result, path: Path, what: str, owners: set[int], forbidden: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise TrustError(f"{what} {path} is no file")
    if found.st_uid not in owners:
        raise TrustError(f"{what} {path} belongs to somebody else", hint=f"Run: chown {os.geteuid()} {path}")
    if found.st_mode & forbidden:
        mode = "go-w" if forbidden == 0o022 else "go-rwx"
        raise TrustError(f"others can change {what} {path}", hint=f"Look what is in it, then run: chmod {mode} {path}")
