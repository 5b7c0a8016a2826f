"""A layer as a tar-diff: files of the source are copied wherever they are, and only what changed is read."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence

import pytest
import zstandard
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree

from bundler.bundle import Bundle, read_bundle
from bundler.delta.layer_delta import LEVEL, LayerDelta
from bundler.delta.source_files import SourceFiles
from bundler.delta.tar_diff import Rebuilder, Writer
from bundler.format import table_reader
from bundler.format.content import Digest
from bundler.format.toc import CHUNK, Chunk, Table
from bundler.verbs import delta

NOISE = random.Random(1).randbytes(3 * CHUNK)
LOG = b"".join(b"%d a line of the log\n" % number for number in range(20_000))
Members = Sequence[tuple[str, bytes]]


def stored(members: Members) -> tuple[Bundle, MemoryStore]:
    store = MemoryStore()
    bundle(store, tree(*(file(path, content) for path, content in members)))
    return read_bundle(store), store


def described(old: Members, new: Members) -> tuple[int, list[Chunk]]:
    """Write the tar-diff of a layer, and rebuild it; gives its size, and the chunks of the new layer that were read."""
    (layer,) = delta.layers_of(*stored(new))
    stream = io.BytesIO()
    read: list[Chunk] = []

    def read_chunk(chunk: Chunk, end: int) -> bytes:
        read.append(chunk)
        return layer.chunk(chunk.offset, end, chunk.size)

    table = Table.of(layer.blob)
    assert table
    progress = RecordingProgress()
    with SourceFiles(delta.layers_of(*stored(old))) as files:
        items = table_reader.items(layer.blob, table, layer.open_range, "here")
        LayerDelta(files, Writer(stream, LEVEL), read_chunk, progress).write(items)
        with Rebuilder(io.BytesIO(stream.getvalue()), files, layer.layer.size, layer.layer.entries, "it") as tar:
            assert Digest.of(tar.read()) == layer.layer.diff_id
    assert progress.done == sum(len(content) for _, content in new)
    return len(stream.getvalue()), read


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([("/s/a", NOISE)], [("/s/a", NOISE)]),
        ([("/s/a", NOISE)], [("/s/renamed", NOISE)]),
        ([("/s/a", NOISE)], [("/s/d/a", NOISE), ("/s/again", NOISE)]),
        ([("/s/log", LOG), ("/s/log.1", b"older")], [("/s/log.1", LOG), ("/s/log.2", b"older")]),
    ],
    ids=["same", "renamed", "twice", "rotated"],
)
def test_the_same_file_elsewhere_is_copied_without_being_read(old: Members, new: Members) -> None:
    size, read = described(old, new)
    assert size < 600
    assert read == []


def test_chunks_that_did_not_change_are_not_read() -> None:
    changed = NOISE[: CHUNK + 500] + b"changed" + NOISE[CHUNK + 507 :]
    size, read = described([("/s/a", NOISE)], [("/s/a", changed)])
    assert size < 1000
    assert [chunk.start for chunk in read] == [CHUNK]


def test_a_renamed_file_that_changed_is_found_by_its_first_chunk() -> None:
    changed = NOISE[:-100] + bytes(100)
    size, read = described([("/s/a", NOISE), ("/s/b", b"other")], [("/s/b", changed)])
    assert size < 1000
    assert [chunk.start for chunk in read] == [2 * CHUNK]


def test_a_file_whose_first_chunk_changed_is_found_by_its_name() -> None:
    size, _ = described([("/s/a", NOISE)], [("/s/a", b"changed" + NOISE[7:])])
    assert size < 1000


def test_a_log_that_grew_costs_what_it_grew_by() -> None:
    grown = LOG + b"".join(b"%d another line\n" % number for number in range(100))
    size, _ = described([("/s/log", LOG)], [("/s/log", grown)])
    assert size < 1500


def test_a_log_that_was_rotated_and_begun_again_is_copied() -> None:
    size, _ = described([("/s/log", LOG)], [("/s/log", b"a new line\n"), ("/s/log.1", LOG)])
    assert size < 1000


def test_a_new_file_is_sent() -> None:
    size, read = described([("/s/a", b"old")], [("/s/b", NOISE)])
    assert len(NOISE) < size < len(NOISE) + 5000
    assert [chunk.start for chunk in read] == [0, CHUNK, 2 * CHUNK]


def test_the_stream_is_one_frame_with_a_checksum() -> None:
    stream = io.BytesIO()
    Writer(stream, LEVEL).finish()
    assert zstandard.get_frame_parameters(stream.getvalue()[8:]).has_checksum
