"""Write one layer: entries become canonical tar, and the tar becomes zstd frames and a table of contents.

Each file starts a new zstd frame, and a long file starts one every `CHUNK` bytes. The headers and padding between two
contents are a frame, too. So all cores can compress and decompress, and the table can record where each file is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from bundler.concurrency.pipeline import Pipeline
from bundler.format import artifact, metadata, paths, tar
from bundler.format.compression import LIBZSTD, MAX_BATCH, compress
from bundler.format.compression_mode import Compression
from bundler.format.content import Descriptor, Digest
from bundler.format.toc import CHUNK, Chunk, Item, TableWriter
from bundler.streams import NOTHING, Readable, Sparse, pieces, read_exactly

if TYPE_CHECKING:
    from hashlib import _Hash

_SHORT = 64 << 10
"""Contents of fewer bytes are hashed at once, as passing them to another thread takes longer."""

_ZEROS = bytes(CHUNK)
SECONDS_PER_GIB_OF_HOLE = 5.0
"""Time to hash and write a hole, measured by ``benchmarks/holes.py``.

It is part of the pause where more data follows the hole than the pipeline can buffer."""


class Blob(Protocol):
    """A blob that is being written to a store; it appears there only when it is finished."""

    def write(self, data: bytes, /) -> object: ...

    def settle(self) -> None:
        """Wait until the bytes written so far are durable."""

    def finish(self, media_type: str) -> Descriptor: ...

    def discard(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _BatchEntry:
    """An entry in a batch; frame ``number`` holds its content, or the chunk of it that begins at ``start``."""

    entry: tar.Entry
    number: int = -1
    start: int = 0
    digest: Digest | None = None
    """Digest of a short content, which is hashed at once: passing many of them to other threads one by one is slow."""
    whole: _Hash | None = None
    """Hash over all chunks of a file that has several."""


Finished = tuple[Descriptor, metadata.Layer]
FindFrame = Callable[[int], bytes | None]
"""Finds a zstd frame that holds exactly the next so many bytes of a content, compressed as `LayerWriter` does it."""


def no_frame(size: int) -> None:
    """Find no frame."""
    del size


class LayerWriter:
    """Write entries as one layer into a blob; ``pipeline`` hashes and compresses them."""

    def __init__(self, blob: Blob, pipeline: Pipeline, compression: Compression) -> None:
        self._blob = blob
        self._pipeline = pipeline
        self._compression = compression
        self._ancestors: set[str] = set()
        self._hash = hashlib.sha256()
        self._size = 0
        self._between = bytearray()  # padding and headers that follow the last content
        self._frames: list[bytes] = []
        self._compressed: dict[int, bytes] = {}
        self._waiting = 0  # bytes in them
        self._batch: list[_BatchEntry] = []
        self._table = TableWriter()
        self._chunks: list[Chunk] = []
        self._written = 0
        self._settled: Future[None] | None = None
        self.entries = 0
        self.exports: list[str] = []

    def lacks(self, directory: str) -> bool:
        """Whether the layer has no entry of a directory yet."""
        return directory not in self._ancestors

    def add(self, entry: tar.Entry, content: Readable | None = None, frame: FindFrame = no_frame) -> None:
        """Append an entry; a file's ``content`` is read for exactly ``entry.size`` bytes.

        ``frame`` is asked for a ready frame with the next bytes of the content, which are read then nevertheless.
        """
        if entry.kind is tar.Kind.DIRECTORY:
            self._ancestors.add(entry.path)
        self._between += tar.encode(entry)
        self.entries += 1
        if not entry.size:
            self._batch.append(_BatchEntry(entry))
            return
        self._end_between()
        whole = hashlib.sha256() if entry.size > CHUNK else None
        start = 0
        while start < entry.size:
            if whole and isinstance(content, Sparse) and (skipped := content.skip_hole(CHUNK, entry.size - start)):
                self._add_hole(_BatchEntry(entry, 0, start, whole=whole), skipped // CHUNK)
                start += skipped
                continue
            if ready := frame(min(CHUNK, entry.size - start)):
                self._compressed[len(self._frames)] = ready
            chunk = _exactly(content, min(CHUNK, entry.size - start), entry)
            self._batch.append(
                _BatchEntry(entry, len(self._frames), start, Digest.of(chunk) if len(chunk) < _SHORT else None, whole)
            )
            self._add_frame(chunk)
            start += len(chunk)
        self._between += tar.padding(entry.size)

    def rest(self) -> None:
        """Compress and settle the contents added so far, as few entries follow for a while.

        Bytes after the last content stay buffered: their frame ends at the next content or at the end of the tar.
        """
        if self._frames:
            self._compress()
        self._settled = self._pipeline.after_delivery(self._blob.settle)

    def finish(self) -> Future[Finished]:
        """End the tar and the blob after all added entries are written."""
        self._between += tar.TRAILER
        self._flush()
        return self._pipeline.after_delivery(self._finish)

    def _finish(self) -> Finished:
        if self._settled:
            self._settled.result()  # a disk reports a failure only once
        tail, table = self._table.finish(self._written)
        self._blob.write(tail)
        layer = metadata.Layer(
            diff_id=Digest(self._hash.hexdigest()),
            size=self._size,
            entries=self.entries,
            exports=tuple(map(paths.encode, self.exports)),
            compression=metadata.LayerCompression(mode=self._compression.value, libzstd=LIBZSTD),
        )
        descriptor = self._blob.finish(artifact.LAYER)
        return (replace(descriptor, annotations=table.annotations) if table else descriptor), layer

    def discard(self) -> None:
        self._blob.discard()

    def _flush(self) -> None:
        if self._between:
            self._end_between()
        if self._frames:
            self._compress()

    def _end_between(self) -> None:
        self._add_frame(bytes(self._between))
        self._between.clear()

    def _add_frame(self, content: bytes) -> None:
        self._frames.append(content)
        self._waiting += len(content)
        if self._waiting >= CHUNK or len(self._frames) >= MAX_BATCH:
            self._compress()

    def _add_hole(self, first: _BatchEntry, count: int) -> None:
        """Append chunks of zeros as one piece of work, so that reading continues while they are hashed."""
        if self._frames:
            self._compress()
        self._pipeline.run(
            partial(self._digest_zeros, first, count),
            partial(_compressed, [_ZEROS], [first], self._compression, {}),
            partial(self._write_zeros, first, count),
        )

    def _digest_zeros(self, first: _BatchEntry, count: int) -> None:
        for _ in range(count):
            self._pipeline.check()
            self._digest([_ZEROS], [first])

    def _write_zeros(self, first: _BatchEntry, count: int, batch: _CompressedBatch) -> None:
        for number in range(count):
            self._write([_ZEROS], [replace(first, start=first.start + number * CHUNK)], batch)

    def _compress(self) -> None:
        contents, entries, ready = self._frames, self._batch, self._compressed
        self._frames, self._batch, self._compressed, self._waiting = [], [], {}, 0
        self._pipeline.run(
            partial(self._digest, contents, entries),
            partial(_compressed, contents, entries, self._compression, ready),
            partial(self._write, contents, entries),
        )

    def _digest(self, contents: Sequence[bytes], entries: Sequence[_BatchEntry]) -> None:
        """Hash what must be hashed in order: the whole tar, and files of several chunks."""
        whole = {part.number: part.whole for part in entries if part.whole}
        for number, data in enumerate(contents if whole else [b"".join(contents)]):
            self._size += len(data)
            for piece in pieces(data):
                self._hash.update(piece)
                if number in whole:
                    whole[number].update(piece)

    def _write(self, contents: Sequence[bytes], entries: Sequence[_BatchEntry], batch: _CompressedBatch) -> None:
        """Write frames into the blob, and add the offsets of their contents to the table."""
        offsets = list(accumulate(map(len, batch.frames), initial=self._written))
        for data in batch.frames if len(contents) <= 2 else [b"".join(batch.frames)]:
            self._blob.write(data)
        self._written = offsets[-1]
        digests = iter(batch.digests)
        for part in entries:
            if part.number < 0:
                self._table.add(Item(part.entry))
                continue
            chunk = Chunk(offsets[part.number], part.start, len(contents[part.number]), next(digests))
            self._chunks.append(chunk)
            if chunk.start + chunk.size == part.entry.size:
                digest = Digest(part.whole.hexdigest()) if part.whole else chunk.digest
                self._table.add(Item(part.entry, digest, tuple(self._chunks), offsets[part.number + 1]))
                self._chunks.clear()


@dataclass(frozen=True, slots=True)
class _CompressedBatch:
    """The frames of a batch, and the digests of the contents that are chunks of files."""

    frames: Sequence[bytes]
    digests: Sequence[Digest]


def _compressed(
    contents: Sequence[bytes], entries: Sequence[_BatchEntry], compression: Compression, ready: Mapping[int, bytes]
) -> _CompressedBatch:
    """Hash the contents that are chunks, and compress those that have no ready frame, by their number."""
    digests = [part.digest or Digest.of(contents[part.number]) for part in entries if part.number >= 0]
    others = [content for number, content in enumerate(contents) if number not in ready] if ready else contents
    made = iter(compress(others, compression))
    return _CompressedBatch([ready.get(number) or next(made) for number in range(len(contents))], digests)


def _exactly(content: Readable | None, size: int, entry: tar.Entry) -> bytes:
    """The next bytes of an entry's content."""
    data = content.read(size) if content else b""
    if len(data) == size:
        return data  # not copied
    return data + read_exactly(content or NOTHING, size - len(data), f"the content of {entry.path!r}")
