"""What is to be written of a bundle: one record for each path, kept in a temporary file so that memory stays flat."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Self, cast

from bundler.errors import disk_errors
from bundler.format.content import Digest
from bundler.format.tar import Kind
from bundler.format.toc import Chunk
from bundler.localfs.attributes import Attributes
from bundler.localfs.walk import Names

_IN_MEMORY = 20_000
"""Records, and their chunks, that stay in memory."""


@dataclass(frozen=True, slots=True)
class Record:
    """A path to write: ``source`` in the bundle, ``names`` below the target directory.

    ``target`` is the text of a symbolic link; ``link`` has the names of the file that a hard link shares, and ``inode`` that
    file's number where it is not written because it is there already. A directory with ``late`` gets its attributes when
    everything in it has its name.
    """

    source: str
    names: Names
    kind: Kind
    attributes: Attributes
    size: int = 0
    target: bytes = b""
    link: Names = ()
    inode: int = 0
    is_new: bool = False
    late: bool = False
    chunks: tuple[Chunk, ...] = ()
    end: int = 0

    def to_line(self) -> bytes:
        """Return the record as a line of JSON."""
        it = self.attributes
        xattrs = [(name, value.hex()) for name, value in it.xattrs]
        chunks = [(chunk.offset, chunk.start, chunk.size, chunk.digest.hex) for chunk in self.chunks]
        content = (
            (self.source, _text(self.names), self.kind.value.decode(), (it.mode, it.uid, it.gid, it.mtime_ns, xattrs)),
            (self.size, self.target.hex(), _text(self.link), self.inode, self.is_new, self.late, chunks, self.end),
        )
        return json.dumps(content, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Read what `to_line` wrote."""
        (source, names, kind, told), (size, target, link, inode, is_new, late, chunks, end) = json.loads(line)
        mode, uid, gid, mtime_ns, xattrs = told
        return cls(
            source,
            _names(names),
            Kind(kind.encode()),
            Attributes(mode, uid, gid, mtime_ns, tuple((name, bytes.fromhex(value)) for name, value in xattrs)),
            size,
            bytes.fromhex(target),
            _names(link),
            inode,
            is_new,
            late,
            tuple(Chunk(offset, start, length, Digest(digest)) for offset, start, length, digest in chunks),
            end,
        )


class Records:
    """Records, read in the order in which they were added; all but the first ones are in a temporary file without a name."""

    def __init__(self) -> None:
        self._first: list[Record] = []
        self._chunks = 0
        self._file: BinaryIO | None = None
        self.count = 0

    def add(self, record: Record) -> None:
        self.count += 1
        self._chunks += len(record.chunks)
        if len(self._first) < _IN_MEMORY and self._chunks < _IN_MEMORY:
            self._first.append(record)
            return
        with disk_errors(tempfile.gettempdir()):
            self._file = self._file or cast(BinaryIO, tempfile.TemporaryFile(buffering=1 << 20))  # noqa: SIM115
            self._file.write(record.to_line())

    def __iter__(self) -> Iterator[Record]:
        yield from self._first
        if self._file:
            self._file.seek(0)
            yield from map(Record.from_line, self._file)


def _text(names: Names) -> str:
    return os.fsdecode(b"/".join(names))


def _names(text: str) -> Names:
    return tuple(os.fsencode(text).split(b"/")) if text else ()
