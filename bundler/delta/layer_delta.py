"""Describe a layer by the files of a delta's source: write its tar as a tar-diff."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from bundler.concurrency.pipeline import mapped
from bundler.delta.matcher import Matcher
from bundler.delta.source_files import File, SourceFiles
from bundler.delta.tar_diff import Writer
from bundler.format import tar
from bundler.format.toc import Chunk, Item
from bundler.streams import Advancing

LEVEL = 3
"""zstd level of the stream of operations, which is mostly data that compresses badly."""

ReadChunk = Callable[[Chunk, int], bytes]
"""Reads a chunk of a file of the layer, whose frame ends at the given offset of the blob."""


class LayerDelta:
    """Writes the tar-diff of one layer; ``read_chunk`` is called only for chunks that the source does not have as they are."""

    def __init__(self, source: SourceFiles, writer: Writer, read_chunk: ReadChunk, progress: Advancing) -> None:
        self._source = source
        self._writer = writer
        self._read_chunk = read_chunk
        self._progress = progress
        self._between = bytearray()  # headers and padding since the last content

    def write(self, items: Iterable[Item]) -> None:
        """Write all items of the layer's table, in their order."""
        for item in items:
            self._between += tar.encode(item.entry)
            if item.chunks:
                self._writer.data(bytes(self._between))
                self._between.clear()
                self._content(item)
                self._between += tar.padding(item.entry.size)
        self._writer.data(bytes(self._between + tar.TRAILER))
        self._writer.finish()

    def _content(self, item: Item) -> None:
        if same := _same(self._source, item):
            self._writer.open(same.name)
            self._writer.copy(same.size)
            self._progress.advance(same.size)
        elif similar := _similar(self._source, item):
            self._writer.open(similar.name)
            self._differences(item, similar)
        else:
            for chunk, end in _with_ends(item):
                self._writer.data(self._read_chunk(chunk, end))
                self._progress.advance(chunk.size)

    def _differences(self, item: Item, old: File) -> None:
        matcher = Matcher(old, self._writer)
        with mapped(partial(self._changed, old), enumerate(_with_ends(item))) as contents:
            for chunk, content in zip(item.chunks, contents, strict=True):
                if content is None:
                    matcher.same(chunk.size)
                else:
                    matcher.add(content)
                self._progress.advance(chunk.size)

    def _changed(self, old: File, numbered: tuple[int, tuple[Chunk, int]]) -> bytes | None:
        """Read a chunk, and what the old file has in its place; None if the old file has it there."""
        number, (chunk, end) = numbered
        if old.chunk_digest(number) == chunk.digest:
            return None
        old.read_ahead(number)
        return self._read_chunk(chunk, end)


def like(source: SourceFiles, item: Item) -> File | None:
    """Return the file of the source with the content of an item, else the one that it most likely was before."""
    return _same(source, item) or _similar(source, item)


def _same(source: SourceFiles, item: Item) -> File | None:
    return source.with_content(item.digest or item.chunks[0].digest, item.entry.path[1:])


def _similar(source: SourceFiles, item: Item) -> File | None:
    """Return the file that the item most likely was before: a renamed one begins alike, and one of its name may not."""
    name = item.entry.path[1:]
    begins_alike = source.with_beginning(item.chunks[0].digest, name) if len(item.chunks) > 1 else None
    return begins_alike or source.open(name)


def _with_ends(item: Item) -> Iterator[tuple[Chunk, int]]:
    ends = [*(chunk.offset for chunk in item.chunks[1:]), item.end]
    return zip(item.chunks, ends, strict=True)
