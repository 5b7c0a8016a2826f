"""Notes of what has to be put right if this process dies: one locked file each, and the lock goes with the process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundler import ownfiles
from bundler.errors import disk_errors


@dataclass(frozen=True)
class Abandoned:
    """A note of a process that is dead; the ``content`` of a damaged one is empty."""

    path: Path
    content: Mapping[str, str]


class Note:
    """A note while its block runs; `settle` says that nothing has to be put right any more."""

    def __init__(self) -> None:
        self.settled = False

    def settle(self) -> None:
        self.settled = True


@contextmanager
def noted(directory: Path, name: str, content: Mapping[str, str]) -> Iterator[Note]:
    """Keep a note for the length of the block, and after it unless it was settled."""
    note = Note()
    path = directory / f"{name}.json"
    ownfiles.make_directory(directory)
    with disk_errors(path):
        file = open(path, "w", opener=_private)  # noqa: SIM115, closed by its block
    with file:
        with disk_errors(path):
            fcntl.flock(file, fcntl.LOCK_EX)
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        try:
            yield note
        finally:
            if note.settled:
                path.unlink(missing_ok=True)


def abandoned(directory: Path) -> list[Abandoned]:
    """The notes that nobody holds any more, by name; raises `TrustError` where somebody else can have written them."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        ownfiles.check_directory(directory)
    for path in sorted(directory.glob("*.json")):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                content = {str(key): str(value) for key, value in json.load(file).items()}
            except (ValueError, AttributeError):
                content = {}
            found.append(Abandoned(path, content))
    return found


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
