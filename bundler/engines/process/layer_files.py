"""The files of an image's layers: which paths the layers on top of each other have, and what to expect of some files of each."""

from __future__ import annotations

import hashlib
import heapq
import posixpath
import sqlite3
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bundler.errors import IntegrityError, StoreError
from bundler.format import layer_rules, ordinary_layer, paths
from bundler.format.content import Digest, HashingReader
from bundler.format.tar import STATE_KINDS, Kind
from bundler.format.whiteouts import Listed
from bundler.streams import BLOCK, Readable

SAMPLES = 100
"""Entries of each layer that are compared with the file system of a container."""
SMALL = 64 << 10
"""Largest file in bytes whose content is compared."""

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE entries (key BLOB PRIMARY KEY, kind BLOB, layer INT) WITHOUT ROWID;
"""
_ADD = "INSERT INTO entries VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET kind = ?2, layer = ?3"
_ADD_ABOVE = "INSERT OR IGNORE INTO entries VALUES (?, ?, ?)"
_REMOVE = "DELETE FROM entries WHERE key = ? AND layer < ?"
_REMOVE_BELOW = "DELETE FROM entries WHERE key > ? AND key < ? AND layer < ?"
_KINDS = {
    tarfile.LNKTYPE: Kind.HARD_LINK,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.CHRTYPE: Kind.CHARACTER_DEVICE,
    tarfile.BLKTYPE: Kind.BLOCK_DEVICE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.FIFOTYPE: Kind.FIFO,
}


@dataclass(frozen=True)
class Sample:
    """What is expected of one entry of a layer: its kind, size and time, and the content of a small file or a symlink."""

    path: str
    kind: Kind
    size: int = 0
    mtime: int = 0
    """In seconds; only of a file."""
    content: str = ""
    """The SHA-256 of a small file, in hexadecimal; the target of a symlink."""


class LayeredListing:
    """The paths that layers have at and below some exports, lowest layer first; kept in a temporary file."""

    def __init__(self, exports: Sequence[str]) -> None:
        self._exports = frozenset(exports)
        self._above = frozenset(directory for export in exports for directory in paths.ancestors(export))
        self._layer = 0
        self._entries = sqlite3.connect("", check_same_thread=False)  # a temporary file without a name
        self._entries.executescript(_SCHEMA)
        self._special: dict[str, Kind] = {}

    def add_layer(self, content: Readable, diff_id: Digest, where: str) -> list[Sample]:
        """Put a layer, as uncompressed tar, on top; returns samples of it.

        Raises `IntegrityError` for a damaged layer, and for one that is not that of ``diff_id``.
        """
        self._layer += 1
        self._special.clear()
        hashed, samples = HashingReader(content), _Samples()
        with _storing():
            for count, (path, member, small) in enumerate(ordinary_layer.members(hashed, where)):
                if count >= layer_rules.MAX_ENTRIES:
                    raise IntegrityError(f"{where}: a layer has more than {layer_rules.MAX_ENTRIES} entries")
                if path == "/":
                    continue
                if whiteout := ordinary_layer.hidden_by(path):
                    hidden, itself = whiteout
                    self._remove(hidden, itself=itself)
                    samples.leave(hidden or "/")
                    continue
                kind = _KINDS.get(member.type, Kind.FILE)
                samples.take(path, kind, member, small)
                self._add(path, kind, member.linkname)
        while hashed.read(BLOCK):
            pass
        if hashed.digest != diff_id:
            raise IntegrityError(f"{where}: a layer has the content {hashed.digest}, and the config of the image says {diff_id}")
        return samples.chosen()

    def entries(self) -> Iterator[Listed]:
        """Yield what the layers have at and below the exports, in walking order."""
        with _storing():
            for key, kind in self._entries.execute("SELECT key, kind FROM entries ORDER BY key"):
                path = paths.from_bytes(key.replace(b"\0", b"/"))
                if paths.top_of(path, self._exports):
                    yield Listed(path, Kind(kind))

    def close(self) -> None:
        self._entries.close()

    def _add(self, path: str, kind: Kind, target: str) -> None:
        if kind not in STATE_KINDS:
            self._special[path] = kind
        if not self._concerns(path):
            return
        if kind is not Kind.DIRECTORY:
            self._remove(path, itself=False)
        if kind is Kind.HARD_LINK:
            kind = self._special.get(posixpath.normpath(f"/{target}"), kind)
        for directory in paths.ancestors(path):  # a layer need not have entries of them
            self._entries.execute(_ADD_ABOVE, (_key(directory), Kind.DIRECTORY.value, self._layer))
        self._entries.execute(_ADD, (_key(path), kind.value, self._layer))

    def _concerns(self, path: str) -> bool:
        """Whether a path is above, at or below an export."""
        return path in self._above or bool(paths.top_of(path, self._exports))

    def _remove(self, path: str, *, itself: bool) -> None:
        """Remove what the layers below have below a path, and the path ``itself``."""
        if path and not self._concerns(path):
            return
        key = _key(path)
        self._entries.execute(_REMOVE_BELOW, (key + b"\0", key + b"\1", self._layer))
        if itself:
            self._entries.execute(_REMOVE, (key, self._layer))


class _Samples:
    """Some entries of a layer, which depend only on its content: those with the smallest hashes of their paths."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._chosen: dict[str, Sample] = {}

    def take(self, path: str, kind: Kind, member: tarfile.TarInfo, small: Callable[[], bytes]) -> None:
        """Choose an entry or not; ``small`` reads the content of a small file."""
        if kind is Kind.HARD_LINK:
            return
        order = -int.from_bytes(hashlib.sha256(paths.to_bytes(path)).digest()[:8], "big")
        if len(self._heap) < SAMPLES:
            heapq.heappush(self._heap, (order, path))
        elif order > self._heap[0][0]:
            self._chosen.pop(heapq.heapreplace(self._heap, (order, path))[1], None)
        else:
            return
        if kind is Kind.FILE:
            content = hashlib.sha256(small()).hexdigest() if member.size <= SMALL else ""
            self._chosen[path] = Sample(path, kind, member.size, int(member.mtime), content)
        else:
            self._chosen[path] = Sample(path, kind, content=member.linkname if kind is Kind.SYMLINK else "")

    def leave(self, path: str) -> None:
        """Do not expect what a layer removes, whatever else it says of it."""
        self._chosen.pop(path, None)

    def chosen(self) -> list[Sample]:
        return [self._chosen[path] for path in sorted(self._chosen)]


def _key(path: str) -> bytes:
    """Orders paths as `paths.sort_key` does, as one value."""
    return paths.to_bytes(path).replace(b"/", b"\0")


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"the list of the base's files cannot be kept in the directory for temporary files: {error}",
            hint="Free some space there, or set TMPDIR to another directory.",
        ) from error
