"""Hash the header and content of entries, to compare two reads of the same entry."""

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
        """Return the line of the entry in a notes file; reads the rest of the content first."""
        drain(self)
        return f"{self._hash.hexdigest()} {paths.encode(self._path)}\n"


def path_of(note: str) -> str:
    """Return the path in a line of `Fingerprint.note`."""
    return paths.decode(note[_DIGITS + 1 : -1])
