"""Notes of what to clean up if this process dies: one locked file each; the kernel drops the lock with the process."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from bundler.errors import BusyError, IntegrityError, disk_errors
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
    """Keep a note for the length of the block, and after the block unless it was settled.

    Waits while another process cleans up after an earlier note of this name; raises `BusyError` when that takes too long.
    """
    note = Note()
    path = path_of(directory, name)
    private_file.make_directory(directory)
    with _locked_file(path) as file:
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


def path_of(directory: Path, name: str) -> Path:
    """The file of a note."""
    return directory / f"{name}.json"


def abandoned(directory: Path) -> Iterator[Abandoned]:
    """Yield the notes of dead processes, by name; each is locked until the next is asked for, so no other process acts on it.

    Raises `TrustError` if another user can have written them. Raises `StoreError` for a note that cannot be read: without an
    error its cleanup would be skipped silently.
    """
    with contextlib.suppress(FileNotFoundError):
        private_file.check_directory(directory)
    for path in _notes(directory):
        with claimed(path) as left:
            if left:
                yield left


@contextmanager
def claimed(path: Path, wait: float = 0) -> Iterator[Abandoned | None]:
    """Lock the note of a dead process for the block; None if it is gone, or still locked after ``wait`` seconds."""
    with contextlib.ExitStack() as opened:
        try:
            file = opened.enter_context(os.fdopen(private_file.open_file(path, os.O_RDONLY), "rb"))
            locks.acquire(file.fileno(), _what(path), wait)
        except (FileNotFoundError, BusyError):
            yield None
        else:
            data = file.read(strict_json.MAX_SIZE + 1)
            yield Abandoned(path, _content(data, path)) if _is_at(path, file.fileno()) else None


@contextmanager
def _locked_file(path: Path) -> Iterator[TextIO]:
    """Create or open a file and lock it, and again if another process removed it meanwhile."""
    while True:
        with os.fdopen(private_file.open_file(path, os.O_RDWR | os.O_CREAT), "r+") as file:
            locks.acquire(file.fileno(), _what(path))
            if _is_at(path, file.fileno()):
                yield file
                return


def _is_at(path: Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _what(path: Path) -> str:
    return f"the note {path}"


def _notes(directory: Path) -> list[Path]:
    with disk_errors(directory), contextlib.suppress(FileNotFoundError):
        return sorted(path for path in directory.iterdir() if path.suffix == ".json")
    return []


def _content(data: bytes, path: Path) -> Mapping[str, str]:
    with contextlib.suppress(IntegrityError):
        return {key: str(value) for key, value in strict_json.load(data, str(path)).items()}
    return {}
