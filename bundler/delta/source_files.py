"""The files of a delta's source: found by path or by content, and read in parts, by the tables of contents of its layers."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from bundler.delta.chunk_cache import ChunkCache, StoredChunk
from bundler.delta.chunks import StoredLayer
from bundler.errors import IntegrityError, StoreError
from bundler.format import paths, table_reader
from bundler.format.content import Digest
from bundler.format.toc import CHUNK, Item, Table

_FREE = "Free some space in the directory for temporary files, or set TMPDIR to another one."
_DIGEST = 32  # bytes
_OFFSET = 8
_CHUNK = _OFFSET + _DIGEST
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE files (path TEXT PRIMARY KEY, layer INT, size INT, end INT, digest BLOB, first BLOB, chunks BLOB) WITHOUT ROWID;
"""
_INSERT = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)"
_BY_PATH = "SELECT path, layer, size, end, digest, chunks FROM files WHERE path = ?"
_BY_DIGEST = "SELECT path, layer, size, end, digest, chunks FROM files WHERE digest = ? ORDER BY path <> ? LIMIT 1"
_BY_FIRST_CHUNK = "SELECT path, layer, size, end, digest, chunks FROM files WHERE first = ? ORDER BY path <> ? LIMIT 1"


@dataclass(frozen=True)
class File:
    """A regular file of the source."""

    name: str
    size: int
    digest: Digest
    _layer: int
    _end: int
    _chunks: bytes
    _cache: ChunkCache

    def chunk_digest(self, number: int) -> Digest | None:
        """The digest of a chunk; None behind the last one."""
        place = number * _CHUNK + _OFFSET
        found = self._chunks[place : place + _DIGEST]
        return Digest(found.hex()) if found else None

    def read_ahead(self, number: int) -> None:
        """Have a chunk ready, if there is one, for `read_at` of another thread."""
        if number * CHUNK < self.size:
            self._cache.prepare(self._chunk(number))

    def expect(self, position: int) -> None:
        """Begin to read the chunk behind that of a position, if there is one, for a thread that reads one after another."""
        if (number := position // CHUNK + 1) * CHUNK < self.size:
            self._cache.expect(self._chunk(number))

    def read_at(self, position: int, size: int) -> bytes | memoryview:
        """Return these bytes; raises `IntegrityError` where the layer has not the frames of its table."""
        parts: list[bytes | memoryview] = []
        while size:
            number, start = divmod(position, CHUNK)
            part = self._cache.read(self._chunk(number), start, size)
            parts.append(part)
            position += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def frame_at(self, position: int, size: int) -> tuple[bytes, bytes] | None:
        """Return the frame of the chunk with exactly these bytes, and the bytes; None where no chunk has them, and no more."""
        number, start = divmod(position, CHUNK)
        if start or size != min(CHUNK, self.size - position):
            return None
        return self._cache.frame(self._chunk(number))

    def _chunk(self, number: int) -> StoredChunk:
        place = number * _CHUNK
        record = self._chunks[place : place + _CHUNK]
        following = self._chunks[place + _CHUNK : place + _CHUNK + _OFFSET]
        end = int.from_bytes(following, "big") if following else self._end
        size = min(CHUNK, self.size - number * CHUNK)
        return StoredChunk(self._layer, int.from_bytes(record[:_OFFSET], "big"), end, size)


class SourceFiles:
    """The regular files of layers with a table of contents; where a path is in several layers, the last one counts.

    The index is in a temporary file, as a state can have millions of files.
    """

    def __init__(self, layers: Sequence[StoredLayer]) -> None:
        self._layers = layers
        self._cache = ChunkCache(layers)
        self._index = sqlite3.connect("", check_same_thread=False)  # one thread at a time uses it
        try:
            self._fill()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._index.close()
        self._cache.close()

    def open(self, name: str) -> File | None:
        """Return the file of this name, as in a tar, without a slash in front; None where there is none."""
        return self._find(_BY_PATH, name) if paths.is_utf8(name) else None  # all names in a table are

    def with_content(self, digest: Digest, name: str) -> File | None:
        """Return a file with this content, preferably that of this name."""
        return self._find(_BY_DIGEST, bytes.fromhex(digest.hex), name)

    def with_beginning(self, chunk: Digest, name: str) -> File | None:
        """Return a file whose first chunk is this one, preferably that of this name."""
        return self._find(_BY_FIRST_CHUNK, bytes.fromhex(chunk.hex), name)

    def _fill(self) -> None:
        try:
            self._index.executescript(_SCHEMA)
            for number, layer in enumerate(self._layers):
                if table := Table.of(layer.blob):
                    items = table_reader.items(layer.blob, table, layer.open_range, layer.where)
                    self._index.executemany(_INSERT, (_row(number, layer, item) for item in items if item.chunks))
            self._index.executescript("CREATE INDEX digests ON files (digest); CREATE INDEX firsts ON files (first);")
        except sqlite3.Error as error:
            raise StoreError(f"cannot write the temporary index of the source's files: {error}", hint=_FREE) from error

    def _find(self, query: str, *values: str | bytes) -> File | None:
        row = self._index.execute(query, values).fetchone()
        if row is None:
            return None
        name, layer, size, end, digest, chunks = row
        return File(name, size, Digest(digest.hex()), layer, end, chunks, self._cache)


def _row(number: int, layer: StoredLayer, item: Item) -> tuple[str, int, int, int, bytes, bytes, bytes]:
    if not 0 <= item.chunks[0].offset < item.end <= layer.blob.size:
        raise IntegrityError(f"{layer.where}: the table of contents of the layer {layer.blob.digest} lists frames beyond the layer")
    chunks = b"".join(chunk.offset.to_bytes(_OFFSET, "big") + bytes.fromhex(chunk.digest.hex) for chunk in item.chunks)
    digest = item.digest or item.chunks[0].digest
    return item.entry.path[1:], number, item.entry.size, item.end, bytes.fromhex(digest.hex), chunks[_OFFSET:_CHUNK], chunks
