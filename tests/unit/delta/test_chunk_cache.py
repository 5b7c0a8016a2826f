"""How often chunks of a source are decompressed, however they are read."""

from __future__ import annotations

import io
import random

import zstandard

from bundler.delta.chunk_cache import ChunkCache, StoredChunk
from bundler.delta.chunks import StoredLayer
from bundler.format.content import Descriptor, Digest
from bundler.format.metadata import Layer
from bundler.streams import Stream

SIZE = 70_000
CONTENTS = [random.Random(number).randbytes(SIZE) for number in range(20)]
SMALL = b"small"


class Frames:
    """A layer of frames, which counts how often each is opened."""

    def __init__(self, contents: list[bytes]) -> None:
        frames = [zstandard.ZstdCompressor().compress(content) for content in contents]
        self.data = b"".join(frames)
        self.opened: list[int] = []
        self.chunks = []
        begin = 0
        for frame, content in zip(frames, contents, strict=True):
            self.chunks.append(StoredChunk(0, begin, begin + len(frame), len(content)))
            begin += len(frame)

    def open_range(self, blob: Descriptor, offset: int, size: int) -> Stream:
        del blob
        self.opened.append(offset)
        return io.BytesIO(self.data[offset : offset + size])

    def cache(self) -> ChunkCache:
        layer = Layer(diff_id=Digest.of(b""), size=0, entries=0, exports=())

        def opened(blob: Descriptor) -> Stream:
            raise AssertionError(blob)

        return ChunkCache([StoredLayer(Descriptor.of("", self.data), layer, opened, self.open_range, "here")])


def test_random_reads_decompress_each_chunk_at_most_twice() -> None:
    frames, chosen = Frames(CONTENTS), random.Random(1)
    cache = frames.cache()
    for _ in range(2000):
        number, start, size = chosen.randrange(len(CONTENTS)), chosen.randrange(SIZE), chosen.randrange(1, 500)
        assert cache.read(frames.chunks[number], start, size) == CONTENTS[number][start : start + size]
    cache.close()
    assert max(map(frames.opened.count, frames.opened)) == 2


def test_reads_of_one_chunk_after_another_decompress_it_once_and_write_nothing() -> None:
    frames = Frames(CONTENTS)
    cache = frames.cache()
    for number, chunk in enumerate(frames.chunks):
        for start in range(0, SIZE, 10_000):
            assert cache.read(chunk, start, 10_000) == CONTENTS[number][start : start + 10_000]
    assert sorted(frames.opened) == [chunk.offset for chunk in frames.chunks]
    assert cache._size == 0
    cache.close()


def test_small_chunks_are_not_written_to_the_disk() -> None:
    frames = Frames([SMALL + bytes([number]) for number in range(20)])
    cache = frames.cache()
    for _ in range(3):
        for number, chunk in enumerate(frames.chunks):
            assert cache.read(chunk, 0, 100) == SMALL + bytes([number])
    assert cache._size == 0
    cache.close()
