"""Compare what is to be extracted with what lies in the target directory."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from enum import Enum

from bundler.format.tar import Kind
from bundler.format.toc import Chunk
from bundler.localfs.walk import Names, Walk
from bundler.verbs.extract_record import Record


class State(Enum):
    """What lies at a path of the target directory."""

    MISSING = "missing"
    SAME = "same"
    OTHER = "other"
    """A file or link that can be replaced, or a directory with other attributes."""
    BLOCKED = "blocked"
    """A file in the place of a directory, or the other way round."""
    BEHIND = "behind"
    """Nothing, as something is in the place of a directory above it."""
    FOREIGN = "foreign"
    """A directory of another file system."""


class Comparison:
    """The target directory, or None before it exists. Content is read to be compared; a time alone proves nothing."""

    def __init__(self, top: int | None) -> None:
        self._top = top
        self._walk = Walk(top) if top is not None else None
        self._device = os.fstat(top).st_dev if top is not None else 0
        self._missing: Names = ()
        self._replaced: set[int] = set()  # hashes of the names of files whose hard links must be made again

    def close(self) -> None:
        if self._walk:
            self._walk.close()

    def state(self, record: Record) -> State:
        """Return what lies at the path of a record."""
        found = self._stat(record.names)
        if isinstance(found, State):
            return found
        parent, status = found
        if record.kind is Kind.DIRECTORY or stat.S_ISDIR(status.st_mode):
            return self._directory(record, status)
        is_same = self._is_same(record, parent, status)
        if not is_same:
            self._replaced.add(hash(record.names))
        return State.SAME if is_same else State.OTHER

    def inode(self, names: Names) -> int:
        """Return the number of a file that stays as it is; 0 where it is missing or gets replaced."""
        found = self._stat(names)
        return 0 if isinstance(found, State) or hash(names) in self._replaced else found[1].st_ino

    def exists(self, names: Names) -> bool:
        """Whether something lies at a path, and is not reached through a link."""
        return not isinstance(self._stat(names), State)

    def _stat(self, names: Names) -> tuple[int, os.stat_result] | State:
        if self._walk is None or (self._missing and names[: len(self._missing)] == self._missing):
            return State.MISSING
        parent = None
        try:
            parent = self._walk.enter(names[:-1])
            status = os.stat(names[-1], dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            if parent is None:
                self._missing = names[: self._walk.depth + 1]  # nothing below it needs a look
            return State.MISSING
        except NotADirectoryError:
            return State.BEHIND
        return parent, status

    def _directory(self, record: Record, status: os.stat_result) -> State:
        if record.kind is not Kind.DIRECTORY or not stat.S_ISDIR(status.st_mode):
            return State.BLOCKED
        if status.st_dev != self._device:
            return State.FOREIGN
        return State.SAME if record.attributes.equal(status) else State.OTHER

    def _is_same(self, record: Record, parent: int, status: os.stat_result) -> bool:
        if record.kind is Kind.HARD_LINK:
            return status.st_ino == self.inode(record.link)
        name, is_link = record.names[-1], record.kind is Kind.SYMLINK
        if not record.attributes.equal(status, is_link=is_link):
            return False
        if is_link:
            return stat.S_ISLNK(status.st_mode) and os.readlink(name, dir_fd=parent) == record.target
        return stat.S_ISREG(status.st_mode) and status.st_size == record.size and _has_content(record, name, parent)


def _has_content(record: Record, name: bytes, parent: int) -> bool:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    except OSError:
        return False
    try:
        return record.attributes.equal_xattrs(descriptor) and _chunks_equal(record.chunks, descriptor)
    finally:
        os.close(descriptor)


def _chunks_equal(chunks: Sequence[Chunk], descriptor: int) -> bool:
    return all(hashlib.sha256(os.pread(descriptor, chunk.size, chunk.start)).hexdigest() == chunk.digest.hex for chunk in chunks)
