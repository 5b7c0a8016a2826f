"""Check files that the command line names. An unreadable file is a usage error, found before the command starts."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from bundler.errors import UsageError
from bundler.localfs import private_file

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Flags with which opening a FIFO does not block."""


def check(path: Path) -> Path:
    """Return the path of a regular file; raises `UsageError` when it cannot be read."""
    return _checked(path, stat.S_ISREG, "a regular file")


def check_directory(path: Path) -> Path:
    """Return the path of a directory; raises `UsageError` when it cannot be read."""
    return _checked(path, stat.S_ISDIR, "a directory")


def option(path: Path | None) -> Path | None:
    """Check the file of an option, and expand ``~``: in ``--sign-key=~/x`` the shell does not."""
    return check(private_file.expanded(path)) if path else None


def directories_option(paths: Sequence[Path] | None) -> list[Path]:
    """Check the directories of a repeatable option."""
    return [check_directory(private_file.expanded(path)) for path in paths or ()]


def _checked(path: Path, is_kind: Callable[[int], bool], kind: str) -> Path:
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="Check the path and its permissions.") from error
    mode = os.fstat(descriptor).st_mode
    os.close(descriptor)
    if not is_kind(mode):
        raise UsageError(f"cannot read {path}: it is not {kind}", hint="Check the path.")
    return path
