"""The content of one file, out of the frames that the table of its layer tells of (`toc`)."""

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
    """A file's content, chunk by chunk, out of the bytes of its layer's blob from its first chunk to its ``end``.

    No chunk is given that has not the digest that the table tells, and the last one only with the certainty that all
    together have that of the file. Raises `IntegrityError`.
    """
    what = f"{where}: the file {paths.encode(item.entry.path)[:1000]!r}"
    # For each chunk a frame and its last block; and a block wherever a writer could have ended one.
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
    """What a frame holds, which must be this chunk; the frames' offsets are counted from ``begin``."""
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
        f"{what} is damaged: it is not what the table of its layer tells",
        hint="Make the copy again, or read the bundle from another place.",
    )
