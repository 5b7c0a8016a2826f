"""One layer: entries in, canonical tar and zstd out, and back again with every byte checked.

Each file begins a zstd frame of its own, and a long one a frame every `CHUNK` bytes; what stands between files in the tar
is a frame, too. So frames are made and read by all cores, and a table of contents can say where each file is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

import zstandard

from bundler.concurrency.pipeline import Pipeline, mapped
from bundler.errors import IntegrityError
from bundler.format import artifact, metadata, paths, tar, units
from bundler.format.compression import Compression, compress, decompress
from bundler.format.content import Descriptor, Digest
from bundler.format.toc import CHUNK, Chunk, Item, Table, TableWriter
from bundler.format.zstd_frames import MAX_WINDOW, Frame, Frames
from bundler.streams import BLOCK, NOTHING, Readable, Sparse, Stream, drain, pieces, read_exactly

if TYPE_CHECKING:
    from hashlib import _Hash

_BATCH_FRAMES = 1024
"""Most frames that are worked on at a time, where they are small."""
_SHORT = 64 << 10
"""Bytes of a content that is hashed sooner than it is handed to another thread."""

_ZEROS = bytes(CHUNK)
SECONDS_PER_GIB_OF_HOLE = 5.0
"""Time to hash and write a hole, measured by ``benchmarks/holes.py``.

The pause contains it where more data follows the hole than the pipeline has room for."""


class Blob(Protocol):
    """A blob that is being written to a store: it appears there when it is finished, else never."""

    def write(self, data: bytes, /) -> object: ...

    def settle(self) -> None:
        """Wait until what was written is where it stays."""

    def finish(self, media_type: str) -> Descriptor: ...

    def discard(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Part:
    """An entry in a batch; ``number`` is the frame with its content, or with the chunk of its content that begins at ``start``."""

    entry: tar.Entry
    number: int = -1
    start: int = 0
    digest: Digest | None = None
    """Of a short content, which is hashed at once: many that are handed to other threads one by one hold all of them up."""
    whole: _Hash | None = None
    """Goes over all chunks of a file that has several."""


Finished = tuple[Descriptor, metadata.Layer]


class LayerWriter:
    """Writes entries as one layer into a blob; what many threads can do is done in ``pipeline``."""

    def __init__(self, blob: Blob, pipeline: Pipeline, compression: Compression) -> None:
        self._blob = blob
        self._pipeline = pipeline
        self._compression = compression
        self._ancestors: set[str] = set()
        self._hash = hashlib.sha256()
        self._size = 0
        self._between = bytearray()  # what follows the last content: its padding, and headers
        self._frames: list[bytes] = []
        self._waiting = 0  # bytes in them
        self._parts: list[_Part] = []
        self._table = TableWriter()
        self._chunks: list[Chunk] = []
        self._written = 0
        self._settled: Future[None] | None = None
        self.entries = 0
        self.exports: list[str] = []

    def lacks(self, directory: str) -> bool:
        """Whether a directory has no entry here yet."""
        return directory not in self._ancestors

    def add(self, entry: tar.Entry, content: Readable | None = None) -> None:
        """Append an entry; a file's ``content`` is read for exactly ``entry.size`` bytes."""
        if entry.kind is tar.Kind.DIRECTORY:
            self._ancestors.add(entry.path)
        self._between += tar.encode(entry)
        self.entries += 1
        if not entry.size:
            self._parts.append(_Part(entry))
            return
        self._end_between()
        whole = hashlib.sha256() if entry.size > CHUNK else None
        start = 0
        while start < entry.size:
            if whole and isinstance(content, Sparse) and (skipped := content.skip_hole(CHUNK, entry.size - start)):
                self._add_hole(_Part(entry, 0, start, whole=whole), skipped // CHUNK)
                start += skipped
                continue
            chunk = _exactly(content, min(CHUNK, entry.size - start), entry)
            self._parts.append(_Part(entry, len(self._frames), start, Digest.of(chunk) if len(chunk) < _SHORT else None, whole))
            self._add_frame(chunk)
            start += len(chunk)
        self._between += tar.padding(entry.size)

    def rest(self) -> None:
        """Compress and settle the contents added so far, as few entries follow for a while.

        Bytes behind the last content stay, because the frame that they are in ends at the next content or at the end of the tar.
        """
        if self._frames:
            self._compress()
        self._settled = self._pipeline.later(self._blob.settle)

    def finish(self) -> Future[Finished]:
        """End the archive and the blob, as soon as all that was added is in it."""
        self._between += tar.TRAILER
        self._flush()
        return self._pipeline.later(self._finish)

    def _finish(self) -> Finished:
        if self._settled:
            self._settled.result()  # a disk tells of a failure once
        tail, table = self._table.finish(self._written)
        self._blob.write(tail)
        exports = tuple(map(paths.encode, self.exports))
        layer = metadata.Layer(diff_id=Digest(self._hash.hexdigest()), size=self._size, entries=self.entries, exports=exports)
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
        if self._waiting >= CHUNK or len(self._frames) >= _BATCH_FRAMES:
            self._compress()

    def _add_hole(self, first: _Part, count: int) -> None:
        """Append chunks of zeros as one piece of work, so that reading goes on while they are hashed."""
        if self._frames:
            self._compress()
        self._pipeline.run(
            partial(self._digest_zeros, first, count),
            partial(_made, [_ZEROS], [first], self._compression),
            partial(self._write_zeros, first, count),
        )

    def _digest_zeros(self, first: _Part, count: int) -> None:
        for _ in range(count):
            self._pipeline.check()
            self._digest([_ZEROS], [first])

    def _write_zeros(self, first: _Part, count: int, made: _Made) -> None:
        for number in range(count):
            self._write([_ZEROS], [replace(first, start=first.start + number * CHUNK)], made)

    def _compress(self) -> None:
        contents, parts = self._frames, self._parts
        self._frames, self._parts, self._waiting = [], [], 0
        self._pipeline.run(
            partial(self._digest, contents, parts),
            partial(_made, contents, parts, self._compression),
            partial(self._write, contents, parts),
        )

    def _digest(self, contents: Sequence[bytes], parts: Sequence[_Part]) -> None:
        """Hash what must be hashed from its beginning on: the whole tar, and files of several chunks."""
        whole = {part.number: part.whole for part in parts if part.whole}
        for number, data in enumerate(contents if whole else [b"".join(contents)]):
            self._size += len(data)
            for piece in pieces(data):
                self._hash.update(piece)
                if number in whole:
                    whole[number].update(piece)

    def _write(self, contents: Sequence[bytes], parts: Sequence[_Part], made: _Made) -> None:
        """Put frames into the blob, and tell the table where their content is."""
        offsets = list(accumulate(map(len, made.frames), initial=self._written))
        for data in made.frames if len(contents) <= 2 else [b"".join(made.frames)]:
            self._blob.write(data)
        self._written = offsets[-1]
        digests = iter(made.digests)
        for part in parts:
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
class _Made:
    """The frames of a batch, and the digests of those contents that are chunks of files."""

    frames: Sequence[bytes]
    digests: Sequence[Digest]


def _made(contents: Sequence[bytes], parts: Sequence[_Part], compression: Compression) -> _Made:
    digests = [part.digest or Digest.of(contents[part.number]) for part in parts if part.number >= 0]
    return _Made(compress(contents, compression), digests)


def _exactly(content: Readable | None, size: int, entry: tar.Entry) -> bytes:
    """The next bytes of an entry's content."""
    found = content.read(size) if content else b""
    if len(found) == size:
        return found  # not copied
    return found + read_exactly(content or NOTHING, size - len(found), f"the content of {entry.path!r}")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some content of a layer's tar; of a whole frame that was hashed it has the digest, and where it begins and ends."""

    data: bytes
    digest: Digest | None = None
    offset: int = 0
    end: int = 0


_NO_PIECE = _Piece(b"")


class LayerReader:
    """The tar of a layer, out of the frames of its blob.

    The last bytes are handed out only when all of it has turned out to be what the layer's size promises, and its diff ID,
    if there is somebody for the ``hashing``. Raises `IntegrityError`.
    """

    def __init__(self, batches: Iterator[Sequence[_Piece]], hashing: Executor | None, layer: metadata.Layer, where: str) -> None:
        self._batches = batches
        self._hashing = hashing
        self._layer = layer
        self._where = where
        self._hash = hashlib.sha256()
        self._hashed: Future[None] | None = None
        self._count = 0
        self._is_ended = False
        self._ready: Iterator[_Piece] = iter(())
        self._piece = _NO_PIECE
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        if self._at == len(self._piece.data) and size:
            self._next()
        data = self._piece.data[self._at : self._at + size]
        self._at += len(data)
        return data

    def chunk(self, size: int) -> _Piece | None:
        """What is read next, if that is a whole frame of just so many bytes; it stays to be read."""
        if self._at == len(self._piece.data):
            self._next()
        return self._piece if self._piece.digest and not self._at and len(self._piece.data) == size else None

    def _next(self) -> None:
        self._at = 0
        while not (piece := next(self._ready, _NO_PIECE)).data and not self._is_ended:
            self._ready = iter(self._batch())
        self._piece = piece

    def _batch(self) -> Sequence[_Piece]:
        """The next pieces, and none at the end; they are hashed beside what is done with them."""
        batch = next(self._batches, ())
        data = batch[0].data if len(batch) == 1 else b"".join(piece.data for piece in batch)
        if self._hashed:
            self._hashed.result()
        self._hashed = self._hashing.submit(self._hash.update, data) if self._hashing else None
        self._count += len(data)
        if self._count >= self._layer.size or not batch:
            self._check_end()
        return batch

    def _check_end(self) -> None:
        if self._count > self._layer.size or any(piece.data for batch in self._batches for piece in batch):
            raise self._refused(f"is longer than {self._layer.size} bytes")
        if self._count < self._layer.size:
            raise self._refused(f"ends after {self._count} of {self._layer.size} bytes")
        if self._hashed:
            self._hashed.result()
        if self._hashing and self._hash.hexdigest() != self._layer.diff_id.hex:
            raise self._refused(f"has another content, sha256:{self._hash.hexdigest()}")
        self._is_ended = True

    def _refused(self, why: str) -> IntegrityError:
        return IntegrityError(f"{self._where}: the layer {self._layer.diff_id} {why}")


@contextmanager
def decompressed(blob: Stream, layer: metadata.Layer, where: str, *, is_known: bool = False) -> Iterator[LayerReader]:
    """The uncompressed tar of a layer, checked against its diff ID and size while it is read.

    ``blob`` is the verified stream of the compressed layer, which is read to its end when the block ends; of a blob that
    ``is_known`` to hold the layer its own digest says enough. Raises `IntegrityError` for a stream that is no zstd, wants
    more than `MAX_WINDOW` of memory, or holds another tar than ``layer`` promises.
    """
    with _read(blob, layer, where, hashed=False, is_known=is_known) as (stream, _):
        yield stream
    drain(blob)


@contextmanager
def _read(
    blob: Stream, layer: metadata.Layer, where: str, *, hashed: bool, is_known: bool = False
) -> Iterator[tuple[LayerReader, Frames]]:
    # One block for each record, and a frame and a last block wherever a writer could have ended one.
    frames = Frames(blob, layer.size // tar.RECORD + 2 * layer.entries + 2, f"{where}: the layer {layer.diff_id}")
    try:
        with (
            mapped(partial(_decompress, hashed=hashed), _batches(frames, layer, where)) as batches,
            ThreadPoolExecutor(1) as hashing,
        ):
            yield LayerReader(_plain(batches), None if is_known else hashing, layer, where), frames
    except (IntegrityError, zstandard.ZstdError) as error:
        drain(blob)  # one that was damaged on its way is told as that, by its digest
        if isinstance(error, IntegrityError):
            raise
        raise IntegrityError(f"{where}: the layer {layer.diff_id} is no valid zstd stream: {error}") from error


def _batches(frames: Frames, layer: metadata.Layer, where: str) -> Iterator[Sequence[Frame]]:
    """Frames that are worth a thread's while together; part of a long frame comes alone."""
    batch: list[Frame] = []
    waiting = total = 0
    for frame in frames:
        total += frame.size or 0
        if total > layer.size:
            raise IntegrityError(f"{where}: the layer {layer.diff_id} is longer than {layer.size} bytes")
        if batch and (frame.size is None or waiting + frame.size > CHUNK or len(batch) >= _BATCH_FRAMES):
            yield batch
            batch, waiting = [], 0
        batch.append(frame)
        waiting += CHUNK if frame.size is None else frame.size
    if batch:
        yield batch


def _decompress(batch: Sequence[Frame], *, hashed: bool) -> Sequence[Frame | _Piece]:
    """The contents of whole frames, each ``hashed`` where a table tells chunks; a part of one must wait for what comes before."""
    if batch[0].size is None:
        return batch
    contents = decompress([frame.data for frame in batch])
    digests = [Digest.of(data) if hashed else None for data in contents]
    return [_Piece(data, digest, it.offset, it.end) for it, data, digest in zip(batch, contents, digests, strict=True)]


def _plain(batches: Iterator[Sequence[Frame | _Piece]]) -> Iterator[Sequence[_Piece]]:
    """Batches in which parts of long frames are decompressed, too."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    long = decompressor.decompressobj()
    for batch in batches:
        pieces = []
        for found in batch:
            if isinstance(found, Frame):
                long = decompressor.decompressobj() if found.is_first else long
                pieces.append(_Piece(long.decompress(found.data)))
            else:
                pieces.append(found)
        yield pieces


def verify(blob: Stream, descriptor: Descriptor, layer: metadata.Layer, where: str, judge: Callable[[tar.Entry], str]) -> None:
    """Read a layer to its end; raises `IntegrityError` unless it is in canonical form and all it says it is.

    ``judge`` says what is wrong with an entry, or gives an empty text. A table of contents must be the very one that
    `LayerWriter` writes for the entries.
    """
    table = Table.of(descriptor)
    told = TableWriter()
    count = 0
    with _read(blob, layer, where, hashed=table is not None) as (stream, frames):
        for entry, content in tar.read(stream, canonical=True):
            if fault := judge(entry):
                raise IntegrityError(f"{where}: the layer {layer.diff_id} holds {paths.encode(entry.path)[:1000]!r}, {fault}")
            if table:
                told.add(_item(entry, content, stream, where))
            count += 1
        if count != layer.entries:
            entries = units.counted(count, "entry", "entries")
            raise IntegrityError(f"{where}: the layer {layer.diff_id} has {entries} in place of {layer.entries}")
        tail, found = told.finish(frames.end) if table else (b"", None)
        if table != found or not _is(tail, frames.tail()):
            raise IntegrityError(f"{where}: the layer {layer.diff_id} ends with something else than a table of its own content")


def _item(entry: tar.Entry, content: tar.Content, stream: LayerReader, where: str) -> Item:
    """An entry as the table tells it; its content is read."""
    chunks: list[Chunk] = []
    whole = hashlib.sha256() if entry.size > CHUNK else None
    end = 0
    for start in range(0, entry.size, CHUNK):
        piece = stream.chunk(min(CHUNK, entry.size - start))
        if not piece or not piece.digest:
            raise IntegrityError(f"{where}: the frames of a layer are not cut at {paths.encode(entry.path)[:1000]!r}")
        if whole:
            whole.update(piece.data)
        chunks.append(Chunk(piece.offset, start, len(piece.data), piece.digest))
        end = piece.end
        content.read(len(piece.data))
    if not chunks:
        return Item(entry)
    return Item(entry, Digest(whole.hexdigest()) if whole else chunks[0].digest, tuple(chunks), end)


def _is(expected: bytes, found: Iterable[bytes]) -> bool:
    """Whether some bytes come in pieces, and nothing behind them; all of them are read."""
    at = 0
    sound = True
    for data in found:
        sound = sound and expected[at : at + len(data)] == data
        at += len(data)
    return sound and at == len(expected)
