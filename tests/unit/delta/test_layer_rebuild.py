"""A rebuilt layer: its unchanged chunks keep the frames that they have in the source."""

from __future__ import annotations

import io
import random

import pytest
from bundles import MemoryBlob, bundle
from fakes import MemoryStore, Tree, file, tree

from bundler.bundle import read_bundle
from bundler.delta import layer_rebuild
from bundler.delta.chunks import StoredLayer
from bundler.delta.layer_delta import LayerDelta
from bundler.delta.source_files import SourceFiles
from bundler.delta.tar_diff import Writer
from bundler.format import compression, table_reader
from bundler.format.compression_mode import Compression
from bundler.format.content import Descriptor
from bundler.format.toc import CHUNK, Table
from bundler.streams import NULL_PROGRESS
from bundler.verbs import delta

CONTENT = random.Random(1).randbytes(2 * CHUNK + 10)
OLD = tree(file("/s/a", b"same"), file("/s/big", CONTENT), file("/s/c", b"one"))
NEW = tree(file("/s/a", b"same"), file("/s/big", CONTENT[:-5] + b"other"), file("/s/c", b"two"))


def layer_of(files: Tree) -> StoredLayer:
    store = MemoryStore()
    bundle(store, files)
    (layer,) = delta.layers_of(read_bundle(store), store)
    return layer


@pytest.mark.parametrize("copies_frames", [True, False])
def test_unchanged_chunks_are_not_compressed_again(copies_frames: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = layer_of(OLD), layer_of(NEW)
    diff, compressed, made = MemoryStore(), list[bytes](), MemoryStore()

    def counted(contents: list[bytes], mode: Compression) -> list[bytes]:
        compressed.extend(contents)
        return compression.compress(contents, mode)

    monkeypatch.setattr("bundler.format.layer_writer.compress", counted)
    table = Table.of(new.blob)
    assert table
    with SourceFiles([old]) as files:
        target = MemoryBlob(diff)
        items = table_reader.items(new.blob, table, new.open_range, "here")
        LayerDelta(files, Writer(target, 3), lambda chunk, end: new.chunk(chunk.offset, end, chunk.size), NULL_PROGRESS).write(
            items
        )
        stream = io.BytesIO(diff.blobs[target.finish("diff").digest])
        found: Descriptor = layer_rebuild.rebuild(
            stream, files, new.layer, MemoryBlob(made), Compression.AUTO, "here", copies_frames=copies_frames
        )
    assert found.digest == new.blob.digest
    unchanged = {b"same", CONTENT[:CHUNK], CONTENT[CHUNK : 2 * CHUNK]}
    assert unchanged.isdisjoint(compressed) if copies_frames else unchanged.issubset(compressed)
