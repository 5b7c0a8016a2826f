"""Read one layer: decompress the zstd frames, and verify size, diff ID, every entry and the table of contents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import zstandard

from bundler.concurrency.pipeline import mapped
from bundler.errors import IntegrityError
from bundler.format import metadata, paths, tar, units
from bundler.format.compression import MAX_BATCH, decompress
from bundler.format.content import Descriptor, Digest
from bundler.format.faults import Fault
from bundler.format.toc import CHUNK, Chunk, Item, Table, TableWriter
from bundler.format.zstd_frames import MAX_WINDOW, Frame, Frames
from bundler.streams import BLOCK, Stream, drain


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some bytes of a layer's tar; a whole frame that was hashed also has its digest, and its offset and end in the blob."""

    data: bytes
    digest: Digest | None = None
    offset: int = 0
    end: int = 0


_NO_PIECE = _Piece(b"")


class LayerReader:
    """The tar of a layer, decompressed from the frames of its blob.

    The last bytes are returned only after the size is verified, and the diff ID too where ``hashing`` is given.
    Raises `IntegrityError`.
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
        """Return the next frame without consuming it, if it is whole and has exactly ``size`` bytes."""
        if self._at == len(self._piece.data):
            self._next()
        return self._piece if self._piece.digest and not self._at and len(self._piece.data) == size else None

    def _next(self) -> None:
        self._at = 0
        while not (piece := next(self._ready, _NO_PIECE)).data and not self._is_ended:
            self._ready = iter(self._batch())
        self._piece = piece

    def _batch(self) -> Sequence[_Piece]:
        """Return the next pieces, none at the end; they are hashed while the caller uses them."""
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
            raise self._refused(f"has other content, which hashes to sha256:{self._hash.hexdigest()}")
        self._is_ended = True

    def _refused(self, why: str) -> IntegrityError:
        return IntegrityError(f"{self._where}: the layer {self._layer.diff_id} {why}")


@contextmanager
def decompressed(blob: Stream, layer: metadata.Layer, where: str, *, is_known: bool = False) -> Iterator[LayerReader]:
    """The uncompressed tar of a layer, checked against its diff ID and size while it is read.

    ``blob`` is the verified stream of the compressed layer; it is read to its end when the block ends. The diff ID is not
    checked where the blob ``is_known`` to hold the layer. Raises `IntegrityError` for a stream that is not zstd, needs
    more than `MAX_WINDOW` of memory, or holds another tar than ``layer`` describes.
    """
    with _read(blob, layer, where, hashed=False, is_known=is_known) as (stream, _):
        yield stream
    drain(blob)


@contextmanager
def _read(
    blob: Stream, layer: metadata.Layer, where: str, *, hashed: bool, is_known: bool = False
) -> Iterator[tuple[LayerReader, Frames]]:
    # One block for each record, and a frame and a last block at each place where a writer may end one.
    frames = Frames(blob, layer.size // tar.RECORD + 2 * layer.entries + 2, f"{where}: the layer {layer.diff_id}")
    try:
        with (
            mapped(partial(_decompress, hashed=hashed), _batches(frames, layer, where)) as batches,
            ThreadPoolExecutor(1) as hashing,
        ):
            yield LayerReader(_plain(batches), None if is_known else hashing, layer, where), frames
    except (IntegrityError, zstandard.ZstdError) as error:
        drain(blob)  # a blob damaged in transit is reported as such, by its digest
        if isinstance(error, IntegrityError):
            raise
        raise IntegrityError(f"{where}: the layer {layer.diff_id} is not a valid zstd stream: {error}") from error


def _batches(frames: Frames, layer: metadata.Layer, where: str) -> Iterator[Sequence[Frame]]:
    """Group small frames so that a batch is worth a thread's time; part of a long frame comes alone."""
    batch: list[Frame] = []
    waiting = total = 0
    for frame in frames:
        total += frame.size or 0
        if total > layer.size:
            raise IntegrityError(f"{where}: the layer {layer.diff_id} is longer than {layer.size} bytes")
        if batch and (frame.size is None or waiting + frame.size > CHUNK or len(batch) >= MAX_BATCH):
            yield batch
            batch, waiting = [], 0
        batch.append(frame)
        waiting += CHUNK if frame.size is None else frame.size
    if batch:
        yield batch


def _decompress(batch: Sequence[Frame], *, hashed: bool) -> Sequence[Frame | _Piece]:
    """Decompress whole frames, ``hashed`` where a table lists chunks; a part of a frame is returned as it is, for `_plain`."""
    if batch[0].size is None:
        return batch
    contents = decompress([frame.data for frame in batch])
    digests = [Digest.of(data) if hashed else None for data in contents]
    return [_Piece(data, digest, it.offset, it.end) for it, data, digest in zip(batch, contents, digests, strict=True)]


def _plain(batches: Iterator[Sequence[Frame | _Piece]]) -> Iterator[Sequence[_Piece]]:
    """Decompress the parts of long frames, too, in their order."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    long = decompressor.decompressobj()
    for batch in batches:
        pieces = []
        for part in batch:
            if isinstance(part, Frame):
                long = decompressor.decompressobj() if part.is_first else long
                pieces.append(_Piece(long.decompress(part.data)))
            else:
                pieces.append(part)
        yield pieces


def verify(
    blob: Stream, descriptor: Descriptor, layer: metadata.Layer, where: str, check: Callable[[tar.Entry], Fault | None]
) -> None:
    """Read a layer to its end; raises `IntegrityError` unless it is in canonical form and as described.

    ``check`` returns the fault of an entry, or None. A table of contents must equal the one that `LayerWriter` writes
    for the entries.
    """
    table = Table.of(descriptor)
    writer = TableWriter()
    count = 0
    with _read(blob, layer, where, hashed=table is not None) as (stream, frames):
        for entry, content in tar.read(stream, canonical=True):
            if fault := check(entry):
                raise IntegrityError(f"{where}: the layer {layer.diff_id}: {fault.sentence}")
            if table:
                writer.add(_item(entry, content, stream, where))
            count += 1
        if count != layer.entries:
            entries = units.counted(count, "entry", "entries")
            raise IntegrityError(f"{where}: the layer {layer.diff_id} has {entries} instead of {layer.entries}")
        tail, expected = writer.finish(frames.end) if table else (b"", None)
        if table != expected or not _equals(tail, frames.tail()):
            raise IntegrityError(f"{where}: the layer {layer.diff_id} does not end with the table of its own content")


def _item(entry: tar.Entry, content: tar.Content, stream: LayerReader, where: str) -> Item:
    """Read the content of an entry and return the item that the table lists for it."""
    chunks: list[Chunk] = []
    whole = hashlib.sha256() if entry.size > CHUNK else None
    end = 0
    for start in range(0, entry.size, CHUNK):
        piece = stream.chunk(min(CHUNK, entry.size - start))
        if not piece or not piece.digest:
            raise IntegrityError(
                f"{where}: no zstd frame of the layer begins at the content of {paths.encode(entry.path)[:1000]!r}"
            )
        if whole:
            whole.update(piece.data)
        chunks.append(Chunk(piece.offset, start, len(piece.data), piece.digest))
        end = piece.end
        content.read(len(piece.data))
    if not chunks:
        return Item(entry)
    return Item(entry, Digest(whole.hexdigest()) if whole else chunks[0].digest, tuple(chunks), end)


def _equals(expected: bytes, blocks: Iterable[bytes]) -> bool:
    """Whether blocks are exactly the expected bytes; all of them are read."""
    at = 0
    sound = True
    for data in blocks:
        sound = sound and expected[at : at + len(data)] == data
        at += len(data)
    return sound and at == len(expected)
