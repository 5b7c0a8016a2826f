"""Read written files back from the medium, with progress."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from bundler.localfs.atomic_file import PartFile
from bundler.streams import Progress

WORTH_TELLING = 8 << 20
"""Bytes below which no progress is shown, as even a slow USB stick is quick."""


def read_back(part: PartFile, sha256: str, name: str, progress: Progress) -> None:
    """Sync a part file and read it back; raises `IntegrityError` when the medium returns other data."""
    with watching(part.size, f"reading back {name}", progress) as advance:
        part.read_back(sha256, advance)


def watching(size: int, text: str, progress: Progress) -> AbstractContextManager[Callable[[int], object]]:
    """Show the progress of reading a large file; returns the function that takes the count of each block."""
    return nullcontext(lambda _: None) if size < WORTH_TELLING else progress.aside(text, size)
