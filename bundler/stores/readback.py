"""Has a medium give back what was written to it, so that somebody who waits for that sees it."""

from __future__ import annotations

from bundler.format.content import Digest
from bundler.partfile import PartFile
from bundler.ports import Progress

WORTH_TELLING = 8 << 20
"""Bytes below which also a slow stick takes but a moment."""


def read_back(part: PartFile, written: Digest, name: str, progress: Progress) -> None:
    """Raises `IntegrityError` when the medium gives something else back; the first it does is to write out what it holds back."""
    size = part.size
    if size < WORTH_TELLING:
        part.read_back(written)
        return
    with progress.aside(f"reading back {name}", size) as advance:
        part.read_back(written, advance)
