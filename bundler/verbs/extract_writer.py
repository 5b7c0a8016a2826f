"""Write planned files into the staging tree: content is decompressed, verified and written in several threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import zstandard

from bundler.concurrency.pipeline import mapped
from bundler.errors import IntegrityError, StoreError, disk_errors
from bundler.format import paths
from bundler.format.compression import decompress
from bundler.format.content import Digest
from bundler.format.tar import Kind
from bundler.format.toc import CHUNK, Chunk, Table
from bundler.format.zstd_frames import MAX_BLOCK, MAX_WINDOW
from bundler.localfs.staging import Staging
from bundler.localfs.walk import Names, Walk
from bundler.ports import Store
from bundler.streams import BLOCK, NOTHING, Progress, Readable, read_exactly, skip
from bundler.verbs.extract_entries import StoredLayer, tar_entries
from bundler.verbs.extract_record import Record, Records

_GAP = 64 << 10
"""Bytes of a blob between two wanted files that are rather read than requested around."""
_MOST_RECORDS = 1000
"""Files that are read from a blob by one request."""
_MOST_FRAMES = 32
"""Frames that are decompressed together, and so files that are open for that."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ZEROS = bytes(1024)
"""What a chunk that becomes a hole begins with."""


@dataclass(frozen=True, slots=True)
class _Task:
    """A chunk of a file, compressed as in the blob."""

    file: _File
    chunk: Chunk
    frame: bytes


class Writer:
    """Writes the records of a plan below the staging tree."""

    def __init__(self, store: Store, staging: Staging, top: Walk, progress: Progress) -> None:
        self._store = store
        self._staging = staging
        self._walk = Walk(staging.tree, create=True)
        self._sources = Walk(staging.tree)
        self._top = top
        self._progress = progress
        self.lock = threading.Lock()
        self.skipped = 0
        """How many extended attributes the file system does not take."""

    def close(self) -> None:
        self._walk.close()
        self._sources.close()

    def write(self, layer: StoredLayer, records: Records) -> None:
        """Write the files and links of a layer; raises `IntegrityError` when content is not as in the table."""
        if not records.count:
            return
        table = Table.of(layer.blob)
        if table is None:
            self._write_from_tar(layer, iter(records))
            return
        with disk_errors(self._staging.path), mapped(self._finish, self._batches(layer, table, records)) as counts:
            for count in counts:
                self._progress.advance(count)

    def make_directories(self, directories: Iterable[Record]) -> None:
        """Create the new directories, and set the attributes of each after those of what is in it."""
        new = (record for record in directories if record.is_new)
        self.skipped += set_attributes(self._walk, new, self._staging.path, is_final=False)

    def _batches(self, layer: StoredLayer, table: Table, records: Records) -> Iterator[Sequence[_Task]]:
        """Yield the chunks of files in groups that are worth a thread's time; links are made on the way."""
        batch: list[_Task] = []
        waiting = 0
        for run in _runs(records, table, self._store.where):
            for task in self._tasks(layer, run):
                batch.append(task)
                waiting += task.chunk.size
                if waiting >= CHUNK or len(batch) >= _MOST_FRAMES:
                    yield batch
                    batch, waiting = [], 0
        if batch:
            yield batch

    def _tasks(self, layer: StoredLayer, run: _Run) -> Iterator[_Task]:
        with ExitStack() as opened:
            stream: Readable = NOTHING
            if run.end > run.begin:
                stream = opened.enter_context(self._store.open_range(layer.blob, run.begin, run.end - run.begin))
            position = run.begin
            for record in run.records:
                file = self._create(record)
                if file and not record.chunks:
                    file.end_chunk()
                if not file or not record.chunks:
                    continue
                for chunk, end in zip(record.chunks, _ends(record), strict=True):
                    if end - chunk.offset > chunk.size + (chunk.size >> 8) + MAX_BLOCK:
                        raise _damaged(record, self._store.where)
                    skip(stream, chunk.offset - position)
                    yield _Task(file, chunk, _read(stream, end - chunk.offset))
                    position = end

    def _create(self, record: Record) -> _File | None:
        """Create a file to write to, or make a link."""
        parent, name = self._walk.enter(record.names[:-1]), record.names[-1]
        try:
            if record.kind is Kind.FILE:
                descriptor = os.open(name, _NEW, 0o600, dir_fd=parent)
                return _File(descriptor, record, self)
            if record.kind is Kind.SYMLINK:
                os.symlink(record.target, name, dir_fd=parent)
                record.attributes.set_on_link(name, parent)
            else:
                self._link(record, parent)
        except FileExistsError as error:
            raise StoreError(
                f"{self._staging.shown(record.names)} is the name of two paths of the bundle on this file system",
                hint="Extract into a file system that distinguishes upper and lower case.",
            ) from error
        return None

    def _link(self, record: Record, parent: int) -> None:
        """Make a hard link to a staged file, or to one that the target directory has already."""
        walk = self._top if record.inode else self._sources
        name = record.names[-1]
        os.link(record.link[-1], name, src_dir_fd=walk.enter(record.link[:-1]), dst_dir_fd=parent, follow_symlinks=False)
        if record.inode and os.stat(name, dir_fd=parent, follow_symlinks=False).st_ino != record.inode:
            raise self._staging.race(record.link, "was replaced")

    def _finish(self, batch: Sequence[_Task]) -> int:
        """Decompress, verify and write a batch; return the number of compressed bytes."""
        for task, data in zip(batch, _contents(batch, self._store.where), strict=True):
            task.file.write(task.chunk, data)
        return sum(len(task.frame) for task in batch)

    def _write_from_tar(self, layer: StoredLayer, records: Iterator[Record]) -> None:
        """Write the files of a layer without a table, which is read to its end."""
        record = next(records, None)
        with disk_errors(self._staging.path), tar_entries(layer, self._store, self._progress) as entries:
            for entry, content in entries:
                if record and record.source == entry.path:
                    if file := self._create(record):
                        file.write_all(content)
                    record = next(records, None)


class _File:
    """A staged file that is written by several threads; it is closed when its last chunk is written."""

    def __init__(self, descriptor: int, record: Record, writer: Writer) -> None:
        self.record = record
        self._descriptor = descriptor
        self._writer = writer
        self._left = max(1, len(record.chunks))

    def write(self, chunk: Chunk, data: bytes) -> None:
        """Write a chunk; one of zeros becomes a hole."""
        if data.startswith(_ZEROS) and not any(data):
            os.ftruncate(self._descriptor, self.record.size)
        else:
            _write(self._descriptor, data, chunk.start)
        self.end_chunk()

    def write_all(self, content: Readable) -> None:
        """Write the whole content."""
        start = 0
        while data := content.read(BLOCK):
            _write(self._descriptor, data, start)
            start += len(data)
        self._close()

    def end_chunk(self) -> None:
        """Count a chunk; after the last one set the attributes."""
        with self._writer.lock:
            self._left -= 1
            is_last = not self._left
        if is_last:
            self._close()

    def _close(self) -> None:
        skipped = self.record.attributes.set(self._descriptor)
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)
        if skipped:
            with self._writer.lock:
                self._writer.skipped += skipped

    def __del__(self) -> None:
        if self._descriptor >= 0:  # the run was interrupted
            with suppress(OSError):
                os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class _Run:
    """Records whose contents are read by one request, from ``begin`` to ``end`` of the blob."""

    begin: int
    end: int
    records: Sequence[Record]


def _runs(records: Iterable[Record], table: Table, where: str) -> Iterator[_Run]:
    run: list[Record] = []
    begin = end = passed = 0
    for record in records:
        if record.chunks:
            first = record.chunks[0].offset
            if first < passed or record.end > table.begin:
                raise _damaged(record, where)
            if end and first - end > _GAP:
                yield _Run(begin, end, run)
                run, end = [], 0
            begin = begin if end else first
            end = passed = record.end
        run.append(record)
        if len(run) >= _MOST_RECORDS:
            yield _Run(begin, end, run) if end else _Run(0, 0, run)
            run, end = [], 0
    if run:
        yield _Run(begin, end, run) if end else _Run(0, 0, run)


def _ends(record: Record) -> list[int]:
    """Where the frame of each chunk ends."""
    return [*(chunk.offset for chunk in record.chunks[1:]), record.end]


def _contents(tasks: Sequence[_Task], where: str) -> Iterator[bytes]:
    """Yield the verified content of each chunk; raises `IntegrityError`."""
    for task in tasks:
        try:
            told = zstandard.get_frame_parameters(task.frame)
        except zstandard.ZstdError as error:
            raise _damaged(task.file.record, where) from error
        is_right = (
            told.content_size == task.chunk.size and told.has_checksum and not told.dict_id and told.window_size <= MAX_WINDOW
        )
        if not is_right:
            raise _damaged(task.file.record, where)
    try:
        contents = decompress([task.frame for task in tasks])
    except zstandard.ZstdError as error:
        raise _damaged(tasks[0].file.record, where) from error
    for task, data in zip(tasks, contents, strict=True):
        if Digest.of(data) != task.chunk.digest:
            raise _damaged(task.file.record, where)
        yield data


def _damaged(record: Record, where: str) -> IntegrityError:
    return IntegrityError(
        f"{where}: the file {paths.encode(record.source)[:1000]!r} is damaged: it differs from the table of its layer",
        hint="Make the copy again, or read the bundle from another place.",
    )


def _read(stream: Readable, size: int) -> bytes:
    data = stream.read(size)
    return data if len(data) == size else bytes(data + read_exactly(stream, size - len(data)))


def _write(descriptor: int, data: bytes, start: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, start)
        view, start = view[count:], start + count


def set_attributes(walk: Walk, directories: Iterable[Record], where: object, *, is_final: bool) -> int:
    """Set the attributes of directories, in walking order, each after those below it; return how many were not taken.

    This user keeps access to a directory with ``late`` until ``is_final``.
    """
    skipped = 0
    waiting: list[Record] = []

    def leave(names: Names | None) -> None:
        nonlocal skipped
        while waiting and (names is None or names[: len(waiting[-1].names)] != waiting[-1].names):
            record = waiting.pop()
            mode = record.attributes.mode | (0o700 if record.late and not is_final else 0)
            skipped += record.attributes.set(walk.enter(record.names), mode=mode)

    with disk_errors(where):
        for record in directories:
            leave(record.names)
            walk.enter(record.names)
            waiting.append(record)
        leave(None)
    return skipped
