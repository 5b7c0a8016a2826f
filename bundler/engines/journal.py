"""Notes of what has to be put right if this process dies: one locked file each, and the lock goes with the process."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import IntegrityError, disk_errors
from bundler.format import strict_json
from bundler.localfs import locks, private_file


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
    private_file.make_directory(directory)
    with os.fdopen(private_file.open_file(path, os.O_RDWR | os.O_CREAT), "r+") as file:
        locks.acquire(file.fileno(), f"what {path} is a note of")
        with disk_errors(path):
            file.truncate()
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        try:
            yield note
        finally:
            if note.settled:
                path.unlink(missing_ok=True)


def abandoned(directory: Path) -> list[Abandoned]:
    """The notes that no process holds, by name.

    Raises `TrustError` where another user can have written them, and `StoreError` for one that cannot be read: what it is of
    would stay as it is unsaid.
    """
    found = []
    with contextlib.suppress(FileNotFoundError):
        private_file.check_directory(directory)
    for path in _notes(directory):
        with contextlib.suppress(FileNotFoundError), os.fdopen(private_file.open_file(path, os.O_RDONLY), "rb") as file:
            if locks.attempt(file.fileno()):
                found.append(Abandoned(path, _content(file.read(strict_json.MAX_SIZE + 1), path)))
    return found


def _notes(directory: Path) -> list[Path]:
    with disk_errors(directory), contextlib.suppress(FileNotFoundError):
        return sorted(path for path in directory.iterdir() if path.suffix == ".json")
    return []


def _content(data: bytes, path: Path) -> Mapping[str, str]:
    with contextlib.suppress(IntegrityError):
        return {key: str(value) for key, value in strict_json.load(data, str(path)).items()}
    return {}
