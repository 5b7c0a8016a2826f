"""The compression of layers in ordinary images: any is read, zstd and gzip are written."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from typing import IO, cast

import zstandard

from bundler.concurrency.pipeline import mapped
from bundler.errors import IntegrityError
from bundler.format import artifact, compression, oci_image
from bundler.format.compression_mode import Compression
from bundler.format.content import Descriptor
from bundler.format.layer_writer import Blob
from bundler.format.zstd_frames import MAX_WINDOW
from bundler.streams import BLOCK, Readable

_PIECE = 4 << 20
"""Bytes of content in one gzip member or zstd frame; the pieces are compressed in parallel."""
_GZIP_LEVEL = 6
_GZIP_FORMAT = 31
"""zlib's number for the format of RFC 1952 with the largest window. It writes a header without time and name."""


class ImageCompression(Enum):
    """How the layers of a new image are compressed."""

    zstd = "zstd"
    gzip = "gzip"

    @property
    def media_type(self) -> str:
        return oci_image.LAYER_GZIP if self is ImageCompression.gzip else artifact.LAYER


def compress(content: Readable, target: Blob, wanted: ImageCompression) -> None:
    """Compress a content piece by piece; the result depends only on the content and the version of the library."""
    work: Callable[[bytes], bytes] = _gzip_member if wanted is ImageCompression.gzip else _zstd_frame
    is_empty = True
    with mapped(work, _pieces(content)) as compressed:
        for piece in compressed:
            target.write(piece)
            is_empty = False
    if is_empty:
        target.write(work(b""))


@contextmanager
def errors(layer: Descriptor, where: str) -> Iterator[None]:
    """Raise what a decompressor raises in the block as an `IntegrityError` about a layer."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise IntegrityError(f"{where}: the layer {layer.digest} cannot be decompressed: {error}") from error


def plain(content: Readable, layer: Descriptor) -> Readable:
    """Return the uncompressed tar of a layer, by its OCI media type; reads belong into a block of `errors`."""
    source = cast(IO[bytes], content)
    if layer.media_type == oci_image.LAYER_GZIP:
        return gzip.GzipFile(fileobj=source)
    if layer.media_type == artifact.LAYER:
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        return cast(Readable, decompressor.stream_reader(source, read_across_frames=True))
    return content


def _pieces(content: Readable) -> Iterator[bytes]:
    piece = bytearray()
    for block in iter(partial(content.read, BLOCK), b""):
        piece += block
        while len(piece) >= _PIECE:
            yield bytes(piece[:_PIECE])
            del piece[:_PIECE]
    if piece:
        yield bytes(piece)


def _gzip_member(piece: bytes) -> bytes:
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
    return compressor.compress(piece) + compressor.flush()


def _zstd_frame(piece: bytes) -> bytes:
    return compression.compress([piece], Compression.AUTO)[0]
