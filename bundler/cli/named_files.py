"""Files that the command line names: one that cannot be read is an error of the command line, before anything is done."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from bundler.errors import UsageError
from bundler.localfs import private_file

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Opening a FIFO waits for nothing."""


def check(path: Path) -> Path:
    """The path of a plain file; raises `UsageError` when it cannot be read."""
    return _checked(path, stat.S_ISREG, "a plain file")


def check_directory(path: Path) -> Path:
    """The path of a directory; raises `UsageError` when it cannot be read."""
    return _checked(path, stat.S_ISDIR, "a directory")


def option(path: Path | None) -> Path | None:
    """The callback of an option that takes a file; of ``--sign-key=~/x`` a shell does not expand the ``~``."""
    return check(private_file.expanded(path)) if path else None


def directories_option(paths: Sequence[Path] | None) -> list[Path]:
    """The callback of a repeatable option that takes directories."""
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
