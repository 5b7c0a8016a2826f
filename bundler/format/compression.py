"""Compress layers as independent zstd frames; the level of each depends on how well its own bytes compress."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import zstandard

from bundler.format.compression_mode import Compression

LIBZSTD = ".".join(map(str, zstandard.ZSTD_VERSION))
"""The version of libzstd: another one may make other frames of the same content."""
MAX_BATCH = 1024
"""Most frames that one thread compresses or decompresses at a time, where they are small."""
_PROBE = 128 << 10
"""Bytes at the start of a content that are compressed at the fast level to choose the level."""
_HALF, _NEARLY_ALL = 0.5, 0.98
"""Compressed part of the probe up to which the level is used, with `Compression.AUTO` and `Compression.BEST`."""
_NONE, _FAST, _DEFAULT, _BEST = -7, 1, 3, 9


_LEVELS = {Compression.AUTO: _DEFAULT, Compression.FAST: _FAST, Compression.BEST: _BEST, Compression.NONE: _NONE}
_MAX_RATIO = {Compression.AUTO: _HALF, Compression.BEST: _NEARLY_ALL}
"""Largest ratio of the compressed probe for which the level is used; other contents get the fast one."""


def compress(contents: Sequence[bytes], compression: Compression) -> list[bytes]:
    """Compress each content to a zstd frame with a checksum and the content's size (RFC 8878, section 3.1.1).

    A frame depends only on its content, on ``compression`` and on the version of libzstd.
    """
    large = {number: content for number, content in enumerate(contents) if len(content) >= _PROBE}
    frames = {number: _compressor(_level(content, compression)).compress(content) for number, content in large.items()}
    small = [number for number in range(len(contents)) if number not in large]
    if small:
        buffers = _compressor(_LEVELS[compression]).multi_compress_to_buffer([contents[number] for number in small], threads=1)
        frames.update((number, buffers[place].tobytes()) for place, number in enumerate(small))
    return [frames[number] for number in range(len(contents))]


def decompress(frames: list[bytes]) -> list[bytes]:
    """Decompress whole frames that record their content's size; raises `zstandard.ZstdError`."""
    if len(frames) == 1:
        return [_decompressor().decompress(frames[0])]
    contents = _decompressor().multi_decompress_to_buffer([*frames], threads=1)
    return [contents[number].tobytes() for number in range(len(frames))]


def _level(content: bytes, compression: Compression) -> int:
    """Choose the level of a content that is at least as long as the probe."""
    if compression not in _MAX_RATIO:
        return _LEVELS[compression]
    ratio = len(_compressor(_FAST).compress(content[:_PROBE])) / _PROBE
    return _LEVELS[compression] if ratio < _MAX_RATIO[compression] else _FAST


class _PerThread(threading.local):
    """The compressors of one thread: creating one takes longer than using it."""

    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor()


_per_thread = _PerThread()


def _compressor(level: int) -> zstandard.ZstdCompressor:
    if level not in _per_thread.compressors:
        _per_thread.compressors[level] = zstandard.ZstdCompressor(level=level, write_checksum=True)
    return _per_thread.compressors[level]


def _decompressor() -> zstandard.ZstdDecompressor:
    return _per_thread.decompressor
