"""Read the content of one file from the frames that the table of its layer lists (`toc`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import zstandard

from bundler.errors import IntegrityError
from bundler.format import paths, tar
from bundler.format.compression import decompress
from bundler.format.content import Digest
from bundler.format.toc import Chunk, Item
from bundler.format.zstd_frames import Frame, Frames
from bundler.streams import Readable


def read(blob: Readable, item: Item, where: str) -> Iterator[bytes]:
    """Yield a file's content by chunks; ``blob`` holds the layer's blob from the first chunk to the item's ``end``.

    Each chunk is verified by its digest in the table before it is yielded, and the last one also by the digest of the
    whole file. Raises `IntegrityError`.
    """
    what = f"{where}: the file {paths.encode(item.entry.path)[:1000]!r}"
    # A frame and its last block for each chunk, and a block at each place where a writer may end one.
    frames = iter(Frames(blob, item.entry.size // tar.RECORD + 2 * len(item.chunks), what))
    begin = item.chunks[0].offset if item.chunks else 0
    whole = hashlib.sha256()
    for chunk in item.chunks:
        data = _content(next(frames, None), chunk, begin, what)
        whole.update(data)
        if chunk is item.chunks[-1] and item.digest != Digest(whole.hexdigest()):
            raise _damaged(what)
        yield data


def _content(frame: Frame | None, chunk: Chunk, begin: int, what: str) -> bytes:
    """Return the content of a frame, which must be this chunk; offsets of frames are relative to ``begin``."""
    if frame is None or (begin + frame.offset, frame.size) != (chunk.offset, chunk.size):
        raise _damaged(what)
    try:
        (data,) = decompress([frame.data])
    except zstandard.ZstdError as error:
        raise _damaged(what) from error
    if Digest.of(data) != chunk.digest:
        raise _damaged(what)
    return data


def _damaged(what: str) -> IntegrityError:
    return IntegrityError(
        f"{what} is damaged: it differs from the table of its layer",
        hint="Make the copy again, or read the bundle from another place.",
    )
