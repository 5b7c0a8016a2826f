"""One layer: entries in, canonical tar and zstd out, and back again with every byte checked."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Protocol, cast

import zstandard

from bundler.errors import IntegrityError
from bundler.format import artifact, metadata, paths, tar
from bundler.format.content import BLOCK, Descriptor, HashingWriter, Readable, Stream, VerifyingReader
from bundler.format.frames import MAX_WINDOW, Frames

LEVEL = 3


class Blob(Protocol):
    """A blob that is being written to a store: it appears there when it is finished, else never."""

    def write(self, data: bytes, /) -> object: ...

    def finish(self, media_type: str) -> Descriptor: ...

    def discard(self) -> None: ...


class LayerWriter:
    """Writes entries as one layer into a blob.

    The layer can be suspended: its zstd frame ends there, the memory of the compressor is given
    back, and what comes later stands in a frame of its own (RFC 8878, section 3: frames concatenate).
    """

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._frame: zstandard.ZstdCompressionWriter | None = None
        self._tar = HashingWriter(self)
        self._ancestors: set[str] = set()
        self.entries = 0
        self.exports: list[str] = []

    def write(self, data: bytes) -> int:
        """Compress bytes of the tar; for `HashingWriter`, not for callers."""
        if self._frame is None:
            compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
            self._frame = compressor.stream_writer(cast(IO[bytes], self._blob), write_size=BLOCK, closefd=False)
        return self._frame.write(data)

    def lacks(self, directory: str) -> bool:
        """Whether a directory has no entry here yet."""
        return directory not in self._ancestors

    def add(self, entry: tar.Entry, content: Readable | None = None) -> None:
        """Append an entry; a file's ``content`` is read for exactly ``entry.size`` bytes."""
        if entry.kind is tar.Kind.DIRECTORY:
            self._ancestors.add(entry.path)
        self._tar.write(tar.encode(entry))
        self.entries += 1
        left = entry.size
        while left:
            block = content.read(min(left, BLOCK)) if content else b""
            if not block:
                raise IntegrityError(f"the content of {entry.path!r} ends {left} bytes early")
            self._tar.write(block)
            left -= len(block)
        self._tar.write(tar.padding(entry.size))

    def suspend(self) -> None:
        if self._frame is not None:
            self._frame.close()  # type: ignore[no-untyped-call]
            self._frame = None

    def finish(self) -> tuple[Descriptor, metadata.Layer]:
        """End the archive and the blob."""
        self._tar.write(tar.TRAILER)
        self.suspend()
        exports = tuple(map(paths.encode, self.exports))
        layer = metadata.Layer(diff_id=self._tar.digest, size=self._tar.count, entries=self.entries, exports=exports)
        return self._blob.finish(artifact.LAYER), layer

    def discard(self) -> None:
        self._frame = None
        self._blob.discard()


@contextmanager
def decompressed(blob: Stream, layer: metadata.Layer, where: str) -> Iterator[Readable]:
    """The uncompressed tar of a layer, checked against its diff ID and size while it is read.

    ``blob`` is the verified stream of the compressed layer. Raises `IntegrityError` for a stream that
    is no zstd, wants more than `MAX_WINDOW` of memory, or holds another tar than ``layer`` promises.
    """
    expected = Descriptor(artifact.LAYER_PLAIN, layer.diff_id, layer.size)
    # One block for each record, and a frame and a last block wherever a writer could have suspended.
    frames = Frames(blob, layer.size // tar.RECORD + 2 * layer.entries + 2, f"{where}: the layer {layer.diff_id}")
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    source = decompressor.stream_reader(cast(IO[bytes], frames), read_size=BLOCK, read_across_frames=True)
    try:
        yield io.BufferedReader(VerifyingReader(source, expected, where), BLOCK)
    except (IntegrityError, zstandard.ZstdError) as error:
        while blob.read(BLOCK):  # a blob that was damaged on its way is told as that, by its digest
            pass
        if isinstance(error, IntegrityError):
            raise
        raise IntegrityError(f"{where}: the layer {layer.diff_id} is no valid zstd stream: {error}") from error


def verify(blob: Stream, layer: metadata.Layer, where: str, judge: Callable[[tar.Entry], str]) -> None:
    """Read a layer to its end; raises `IntegrityError` unless it is in canonical form and all it says it is.

    ``judge`` says what is wrong with an entry, or gives an empty text.
    """
    entries = 0
    with decompressed(blob, layer, where) as stream:
        for entry, _ in tar.read(stream, canonical=True):
            if fault := judge(entry):
                raise IntegrityError(f"{where}: the layer {layer.diff_id} holds {paths.encode(entry.path)[:1000]!r}, {fault}")
            entries += 1
    if entries != layer.entries:
        raise IntegrityError(f"{where}: the layer {layer.diff_id} has {entries} entries in place of {layer.entries}")
    if blob.read(1):
        raise IntegrityError(f"{where}: there are bytes after the end of the layer {layer.diff_id}")
