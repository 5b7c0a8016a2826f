"""The files of a delta's source: by path, by content and by their first chunk, read in parts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from bundles import bundle
from fakes import MemoryStore, directory, file, link, tree

from bundler.bundle import read_bundle
from bundler.delta.chunks import MAX_FRAME, StoredLayer
from bundler.delta.source_files import File, SourceFiles
from bundler.errors import IntegrityError
from bundler.format.content import Descriptor, Digest
from bundler.format.tar import Entry, Kind
from bundler.format.toc import CHUNK, Chunk, Item, TableWriter
from bundler.streams import Stream
from bundler.verbs import delta

BIG = random.Random(1).randbytes(2 * CHUNK + 1000)


def layers(*members: tuple[Entry, bytes]) -> list[StoredLayer]:
    store = MemoryStore()
    bundle(store, tree(*members))
    return delta.layers_of(read_bundle(store), store)


def content(found: File | None) -> bytes:
    assert found
    return found.read_at(0, found.size)


def test_files_are_found_by_path_only() -> None:
    hard = link("/s/hard", Kind.HARD_LINK, "/s/a")
    with SourceFiles(layers(file("/s/a", b"one"), file("/s/b", b""), directory("/s/d"), hard)) as files:
        assert content(files.open("s/a")) == b"one"
        for name in ("/s/a", "s", "s/d", "s/b", "s/hard", "../s/a", "s/./a", "s/a/", "", "s/\udcff", "s/a\0"):
            assert files.open(name) is None


def test_files_are_found_by_content_preferably_of_the_name() -> None:
    with SourceFiles(layers(file("/s/a", b"one"), file("/s/b", b"one"), file("/s/c", b"two"))) as files:
        for name in ("s/a", "s/b"):
            found = files.with_content(Digest.of(b"one"), name)
            assert found
            assert found.name == name
        assert content(files.with_content(Digest.of(b"two"), "s/a")) == b"two"
        assert files.with_content(Digest.of(b"three"), "s/a") is None
        assert content(files.with_beginning(Digest.of(b"two"), "s/x")) == b"two"


@pytest.mark.parametrize(
    ("position", "size"), [(0, 1), (CHUNK - 1, 2), (CHUNK, CHUNK), (0, len(BIG)), (2 * CHUNK + 999, 1), (5, 0), (100, CHUNK)]
)
def test_parts_of_a_file_are_read_from_its_chunks(position: int, size: int) -> None:
    with SourceFiles(layers(file("/s/big", BIG))) as files:
        found = files.open("s/big")
        assert found
        assert found.size == len(BIG)
        assert found.read_at(position, size) == BIG[position : position + size]
        assert [found.chunk_digest(number) for number in range(4)] == [
            *(Digest.of(BIG[begin : begin + CHUNK]) for begin in range(0, len(BIG), CHUNK)),
            None,
        ]


def test_chunks_are_read_once_as_long_as_they_are_few() -> None:
    ranges: list[int] = []
    (layer,) = layers(file("/s/big", BIG))

    def counted(blob: Descriptor, offset: int, size: int) -> Stream:
        ranges.append(offset)
        return layer.open_range(blob, offset, size)

    with SourceFiles([replace(layer, open_range=counted)]) as files:
        found = files.open("s/big")
        assert found
        ranges.clear()
        for _ in range(5):
            found.read_at(CHUNK - 10, 20)
        found.read_ahead(1)
        found.read_ahead(7)
        assert len(ranges) == 2


def test_of_a_path_in_several_layers_the_last_one_counts() -> None:
    both = [*layers(file("/s/a", b"old"), file("/s/b", b"old b")), *layers(file("/s/a", b"new"))]
    with SourceFiles(both) as files:
        assert content(files.open("s/a")) == b"new"
        assert content(files.open("s/b")) == b"old b"


def test_a_layer_without_a_table_has_no_files() -> None:
    (layer,) = layers(file("/s/a", b"old"))
    with SourceFiles([replace(layer, blob=replace(layer.blob, annotations={}))]) as files:
        assert files.open("s/a") is None


def forged(chunks: Sequence[Chunk], end: int, size: int, frames: bytes = b"") -> StoredLayer:
    """A layer whose table has one file with these chunks."""
    writer = TableWriter()
    writer.add(Item(Entry("/s/a", Kind.FILE, 0o644, 0, 0, 0, size), Digest.of(b"file"), tuple(chunks), end))
    tail, table = writer.finish(len(frames))
    assert table
    data = frames + tail

    def open_range(blob: Descriptor, offset: int, length: int) -> Stream:
        part = MemoryStore()
        found = data[offset : offset + length]
        part.blobs[Digest.of(found)] = found
        del blob
        return part.open(Descriptor.of("", found))

    blob = Descriptor("", Digest.of(data), len(data), table.annotations)
    (layer,) = layers(file("/s/a"))
    return StoredLayer(blob, layer.layer, lambda _: pytest.fail("read whole"), open_range, "here")


@pytest.mark.parametrize(("offset", "end"), [(-1, 10), (0, 1 << 62), (1 << 64, 1 << 65), (1 << 62, (1 << 62) + 1)])
def test_a_table_with_frames_beyond_its_layer_is_refused(offset: int, end: int) -> None:
    layer = forged([Chunk(offset, 0, 4, Digest.of(b"file"))], end, 4)
    with pytest.raises(IntegrityError, match="lists frames beyond the layer"):
        SourceFiles([layer])


@pytest.mark.parametrize(
    "frame",
    [
        b"no frame at all",
        zstandard.compress(b"other size"),
        zstandard.compress(bytes(1 << 26)),
        zstandard.compress(b"file")[:-1],
        zstandard.ZstdCompressor(write_checksum=True).compress(b"file")[:-4] + b"sums",
        zstandard.ZstdCompressor(write_content_size=False).compress(b"file"),
    ],
    ids=["none", "size", "bomb", "cut", "checksum", "no size"],
)
def test_a_frame_that_is_not_that_of_the_table_is_refused(frame: bytes) -> None:
    with SourceFiles([forged([Chunk(0, 0, 4, Digest.of(b"file"))], len(frame), 4, frame)]) as files:
        found = files.open("s/a")
        assert found
        with pytest.raises(IntegrityError, match="is damaged"):
            found.read_at(0, 4)


def test_a_frame_that_is_too_long_is_not_read() -> None:
    frames = bytes(MAX_FRAME + 1)
    layer = forged([Chunk(0, 0, 4, Digest.of(b"file"))], len(frames), 4, frames)
    with pytest.raises(IntegrityError, match="is damaged"):
        layer.chunk(0, len(frames), 4)


def test_the_index_is_in_no_directory_of_this_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SourceFiles(layers(file("/s/a", b"old"))):
        assert list(tmp_path.iterdir()) == []
