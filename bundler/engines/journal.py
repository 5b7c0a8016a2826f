"""Notes of what to clean up if this process dies: one locked file each; the kernel drops the lock with the process."""

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
    """A note of a dead process; the ``content`` of a damaged one is empty."""

    path: Path
    content: Mapping[str, str]


class Note:
    """A note while its block runs; after `settle` nothing is left to clean up."""

    def __init__(self) -> None:
        self.settled = False

    def settle(self) -> None:
        self.settled = True


@contextmanager
def noted(directory: Path, name: str, content: Mapping[str, str]) -> Iterator[Note]:
    """Keep a note for the length of the block, and after the block unless it was settled."""
    note = Note()
    path = directory / f"{name}.json"
    private_file.make_directory(directory)
    with os.fdopen(private_file.open_file(path, os.O_RDWR | os.O_CREAT), "r+") as file:
        locks.acquire(file.fileno(), f"the note {path}")
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
    """Return the notes without a live process, by name.

    Raises `TrustError` if another user can have written them. Raises `StoreError` for a note that cannot be read: without an
    error its cleanup would be skipped silently.
    """
    notes = []
    with contextlib.suppress(FileNotFoundError):
        private_file.check_directory(directory)
    for path in _notes(directory):
        with contextlib.suppress(FileNotFoundError), os.fdopen(private_file.open_file(path, os.O_RDONLY), "rb") as file:
            if locks.attempt(file.fileno()):
                notes.append(Abandoned(path, _content(file.read(strict_json.MAX_SIZE + 1), path)))
    return notes


def _notes(directory: Path) -> list[Path]:
    with disk_errors(directory), contextlib.suppress(FileNotFoundError):
        return sorted(path for path in directory.iterdir() if path.suffix == ".json")
    return []


def _content(data: bytes, path: Path) -> Mapping[str, str]:
    with contextlib.suppress(IntegrityError):
        return {key: str(value) for key, value in strict_json.load(data, str(path)).items()}
    return {}
