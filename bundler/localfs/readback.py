"""Has a medium give back what was written to it, so that somebody who waits for that sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from bundler.localfs.atomic_file import PartFile
from bundler.streams import Progress

WORTH_TELLING = 8 << 20
"""Bytes below which also a slow stick takes but a moment."""


def read_back(part: PartFile, sha256: str, name: str, progress: Progress) -> None:
    """Raises `IntegrityError` when the medium gives something else back; the first it does is to write out what it holds back."""
    with watching(part.size, f"reading back {name}", progress) as advance:
        part.read_back(sha256, advance)


def watching(size: int, text: str, progress: Progress) -> AbstractContextManager[Callable[[int], object]]:
    """Show how far a file of so many bytes has been read, if that takes long; gives what is told of each block."""
    return nullcontext(lambda _: None) if size < WORTH_TELLING else progress.aside(text, size)
