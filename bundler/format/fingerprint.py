"""Whether two readings of an entry gave the same: its header and content, hashed while they pass."""

from __future__ import annotations

import hashlib

from bundler.format import paths, tar
from bundler.format.tar import Entry
from bundler.streams import Readable, drain

_DIGITS = 64


class Fingerprint:
    """The content of an entry, hashed while it is read."""

    def __init__(self, entry: Entry, content: Readable) -> None:
        self._path = entry.path
        self._content = content
        self._hash = hashlib.sha256(tar.encode(entry))

    def read(self, size: int = -1, /) -> bytes:
        data = self._content.read(size)
        self._hash.update(data)
        return data

    def note(self) -> str:
        """One line for a file of notes; what nobody read of the content is read now."""
        drain(self)
        return f"{self._hash.hexdigest()} {paths.encode(self._path)}\n"


def path_of(note: str) -> str:
    """The path that a note is of."""
    return paths.decode(note[_DIGITS + 1 : -1])
