"""How layers are compressed: in independent zstd frames, each by what its own bytes are worth."""

from __future__ import annotations

import threading
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


_LEVELS = {Compression.AUTO: _USUAL, Compression.FAST: _FAST, Compression.BEST: _BEST, Compression.NONE: _NONE}
_WORTH = {Compression.AUTO: _LITTLE, Compression.BEST: _HARDLY}
"""What must be left of a probe, at most, for a content to get the level; others get the fast one."""


def compress(contents: Sequence[bytes], compression: Compression) -> list[bytes]:
    """A zstd frame with a checksum and its content's size for each of some contents (RFC 8878, section 3.1.1).

    A frame depends on its content, on ``compression`` and on the version of libzstd alone.
    """
    large = {number: content for number, content in enumerate(contents) if len(content) >= _PROBE}
    frames = {number: _compressor(_level(content, compression)).compress(content) for number, content in large.items()}
    small = [number for number in range(len(contents)) if number not in large]
    if small:
        made = _compressor(_LEVELS[compression]).multi_compress_to_buffer([contents[number] for number in small], threads=1)
        frames.update((number, made[place].tobytes()) for place, number in enumerate(small))
    return [frames[number] for number in range(len(contents))]


def decompress(frames: list[bytes]) -> list[bytes]:
    """The contents of whole frames that tell the size of theirs; raises `zstandard.ZstdError`."""
    if len(frames) == 1:
        return [_decompressor().decompress(frames[0])]
    contents = _decompressor().multi_decompress_to_buffer([*frames], threads=1)
    return [contents[number].tobytes() for number in range(len(frames))]


def _level(content: bytes, compression: Compression) -> int:
    """What a content that is longer than a probe is worth, by its first bytes."""
    if compression not in _WORTH:
        return _LEVELS[compression]
    left = len(_compressor(_FAST).compress(content[:_PROBE])) / _PROBE
    return _LEVELS[compression] if left < _WORTH[compression] else _FAST


class _Kept(threading.local):
    """What each thread has of its own, as making it anew takes longer than using it."""

    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor()


_kept = _Kept()


def _compressor(level: int) -> zstandard.ZstdCompressor:
    if level not in _kept.compressors:
        _kept.compressors[level] = zstandard.ZstdCompressor(level=level, write_checksum=True)
    return _kept.compressors[level]


def _decompressor() -> zstandard.ZstdDecompressor:
    return _kept.decompressor
