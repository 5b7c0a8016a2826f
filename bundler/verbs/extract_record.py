"""What is to be written of a bundle: one record for each path, kept in a temporary file so that memory stays flat."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from bundler.errors import disk_errors
from bundler.format.content import Digest
from bundler.format.tar import Kind
from bundler.format.toc import Chunk
from bundler.localfs.attributes import Attributes
from bundler.localfs.walk import Names


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
    """Records in a temporary file without a name, read in the order in which they were added."""

    def __init__(self) -> None:
        with disk_errors(tempfile.gettempdir()):
            self._file = tempfile.TemporaryFile(buffering=1 << 20)  # noqa: SIM115, it lives as long as the records
        self.count = 0

    def add(self, record: Record) -> None:
        with disk_errors(tempfile.gettempdir()):
            self._file.write(record.to_line())
        self.count += 1

    def __iter__(self) -> Iterator[Record]:
        self._file.seek(0)
        yield from map(Record.from_line, self._file)


def _text(names: Names) -> str:
    return os.fsdecode(b"/".join(names))


def _names(text: str) -> Names:
    return tuple(os.fsencode(text).split(b"/")) if text else ()
