"""Files that decide whom we believe: read only where nobody else could have written them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bundler.errors import TrustError

MAX_SIZE = 64 << 20
"""Bytes of the largest file that is read; a KRL of a million serial numbers has some 9 MB."""


def read(path: Path, what: str) -> bytes:
    """A file of root's or ours that nobody else can write or take away; raises `TrustError`, and `FileNotFoundError`."""
    return _read(path, what, owners={0, os.geteuid()}, forbidden=0o022, flags=0)


def read_private(path: Path, what: str) -> bytes:
    """A file of ours alone, and no link to one; raises `TrustError`, and `FileNotFoundError`."""
    return _read(path, what, owners={os.geteuid()}, forbidden=0o077, flags=os.O_NOFOLLOW)


def _read(path: Path, what: str, owners: set[int], forbidden: int, flags: int) -> bytes:
    try:
        _check_directory(path.parent, what)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
        with os.fdopen(descriptor, "rb") as file:
            _check(os.fstat(descriptor), path, what, owners, forbidden)
            data = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TrustError(f"{what} {path} cannot be read: {error.strerror}", hint="Check the file and its permissions.") from error
    if len(data) > MAX_SIZE:
        raise TrustError(f"{what} {path} is longer than {MAX_SIZE} bytes")
    return data


def _check_directory(path: Path, what: str) -> None:
    """Who can write a directory takes a file away, and with it what it forbids, unless the directory is sticky (unlink(2))."""
    mode = path.stat().st_mode
    if mode & 0o022 and not mode & stat.S_ISVTX:
        raise TrustError(f"others can change {what} in {path}", hint=f"Look what is in it, then run: chmod go-w {path}")


def _check(found: os.stat_result, path: Path, what: str, owners: set[int], forbidden: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise TrustError(f"{what} {path} is no file")
    if found.st_uid not in owners:
        raise TrustError(f"{what} {path} belongs to somebody else", hint=f"Run: chown {os.geteuid()} {path}")
    if found.st_mode & forbidden:
        mode = "go-w" if forbidden == 0o022 else "go-rwx"
        raise TrustError(f"others can change {what} {path}", hint=f"Look what is in it, then run: chmod {mode} {path}")
