"""How layers are compressed: in independent zstd frames, each by what its own bytes are worth."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import zstandard

_PROBE = 128 << 10
"""Bytes at the beginning of a frame's content by which it is judged, with the least effort."""
_LITTLE, _HARDLY = 0.5, 0.98
"""What is left of a probe that is worth more effort, and of one that is worth none."""
_NONE, _FAST, _USUAL, _BEST = -7, 1, 3, 9


class Compression(Enum):
    """How much time there is for making a bundle smaller."""

    AUTO = "auto"
    FAST = "fast"
    BEST = "best"
    NONE = "none"


def compress(contents: Sequence[bytes], compression: Compression) -> list[bytes]:
    """A zstd frame with a checksum and its content's size for each of some contents (RFC 8878, section 3.1.1).

    A frame depends on its content, on ``compression`` and on the version of libzstd alone.
    """
    levels = [_level(content, compression) for content in contents]
    frames: dict[int, bytes] = {}
    for level in set(levels):
        numbers = [number for number, wanted in enumerate(levels) if wanted == level]
        compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
        made = compressor.multi_compress_to_buffer([contents[number] for number in numbers], threads=1)
        frames.update((number, made[place].tobytes()) for place, number in enumerate(numbers))
    return [frames[number] for number in range(len(contents))]


def _level(content: bytes, compression: Compression) -> int:
    if compression is Compression.NONE:
        return _NONE
    if compression is Compression.FAST or len(content) < _PROBE:
        return _BEST if compression is Compression.BEST else _FAST if compression is Compression.FAST else _USUAL
    probe = content[:_PROBE]
    left = len(zstandard.ZstdCompressor(level=_FAST).compress(probe)) / len(probe)
    if compression is Compression.BEST:
        return _BEST if left < _HARDLY else _FAST
    return _USUAL if left < _LITTLE else _FAST
