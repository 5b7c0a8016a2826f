from __future__ import annotations

import io

import pytest
from bundles import MemoryBlob
from bundles import pack as packed
from fakes import MemoryStore, Tree, directory, file, link, special, tree

from bundler.concurrency.pipeline import Pipeline
from bundler.errors import ModelError
from bundler.format import layer_reader, pack, paths, tar
from bundler.format import metadata as meta
from bundler.format.content import Descriptor
from bundler.format.tar import Entry, Kind


@pytest.fixture(autouse=True)
def small_is_big(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "BIG", 1000)


BIG = b"b" * 1000


def read(store: MemoryStore, descriptor: Descriptor, described: meta.Layer) -> list[Entry]:
    with store.open(descriptor) as blob, layer_reader.decompressed(blob, described, "here") as stream:
        return [entry for entry, _ in tar.read(stream, canonical=True)]


def layers_of(files: Tree, exports: list[str], **options: int) -> list[list[Entry]]:
    store = MemoryStore()
    _, descriptors, layers = packed(store, files, exports, **options)
    return [read(store, *pair) for pair in zip(descriptors, layers, strict=True)]


def names(layers: list[list[Entry]]) -> list[list[str]]:
    return [[entry.path for entry in entries] for entries in layers]


def test_small_files_share_the_last_layer_with_all_directories() -> None:
    files = tree(file("/a/s/one"), file("/a/s/two"))
    assert names(layers_of(files, ["/a/s"])) == [["/a", "/a/s", "/a/s/one", "/a/s/two"]]


def test_a_big_file_is_a_layer_of_its_own_below_its_ancestors_of_time_0() -> None:
    files = tree(file("/a/s/big", BIG), file("/a/s/small"))
    big, last = layers_of(files, ["/a/s"])
    assert [(entry.path, entry.mtime) for entry in big] == [("/a", 0), ("/a/s", 0), ("/a/s/big", 1_600_000_000)]
    assert [(entry.path, entry.mtime) for entry in last[:2]] == [("/a", 0), ("/a/s", 1_600_000_000)]


def test_a_file_beside_a_big_one_changes_the_last_layer_alone() -> None:
    def diff_ids(data: bytes) -> list[str]:
        files = tree(file("/s/big", BIG), file("/s/small", data), directory("/s", mtime=len(data)))
        _, _, layers = packed(MemoryStore(), files, ["/s"])
        return [str(described.diff_id) for described in layers]

    one, other = diff_ids(b"one"), diff_ids(b"another")
    assert one[0] == other[0]
    assert one[1] != other[1]


def test_a_link_to_a_big_file_follows_it_with_the_ancestors_that_are_lacking() -> None:
    files = tree(file("/s/a-big", BIG), file("/s/b"), directory("/s/d"), link("/s/d/link", Kind.HARD_LINK, "/s/a-big"))
    assert names(layers_of(files, ["/s"])) == [["/s", "/s/a-big", "/s/d", "/s/d/link"], ["/s", "/s/b", "/s/d"]]


def test_big_files_beyond_the_limit_go_into_the_last_layer() -> None:
    files = tree(*(file(f"/s/{number}", BIG) for number in range(4)))
    assert [len(entries) for entries in layers_of(files, ["/s"], base_layers=118)] == [2, 2, 3]
    assert len(layers_of(files, ["/s"], base_layers=125)) == 1


def test_a_big_file_alone_leaves_no_last_layer() -> None:
    assert names(layers_of(tree(file("/s", BIG)), ["/s"])) == [["/s"]]


@pytest.mark.parametrize("kind", [Kind.FIFO, Kind.SOCKET, Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE])
def test_what_is_no_state_is_left_out_with_the_links_to_it(kind: Kind) -> None:
    files = tree(directory("/s"), special("/s/a", kind), link("/s/b", Kind.HARD_LINK, "/s/a"), file("/s/c"))
    store = MemoryStore()
    packer, descriptors, layers = packed(store, files, ["/s"])
    assert [entry.path for entry in read(store, descriptors[0], layers[0])] == ["/s", "/s/c"]
    assert packer.counts["/s"].left_out == ["/s/a", "/s/b"]


def test_several_exports_are_counted_apart() -> None:
    packer, _, layers = packed(MemoryStore(), tree(file("/a/x", b"12"), file("/b", b"345")), ["/a", "/b"])
    assert {top: (count.kind, count.entries, count.size) for top, count in packer.counts.items()} == {
        "/a": ("directory", 2, 2),
        "/b": ("file", 1, 3),
    }
    assert layers[0].exports == ("/a", "/b")


def test_whiteouts_stand_at_the_end_of_the_last_layer() -> None:
    store = MemoryStore()
    _, descriptors, layers = packed(store, tree(file("/s/z"), directory("/s/d")), ["/s"], removed=("/s/a", "/s/d/x"))
    assert [entry.path for entry in read(store, descriptors[-1], layers[-1])][-2:] == ["/s/.wh.a", "/s/d/.wh.x"]


def test_privileged_files_are_named_but_not_directories() -> None:
    files = tree(file("/s/a", mode=0o4755), file("/s/b", capability=b"x"), directory("/s/c", mode=0o2755), file("/s/d"))
    packer, _, _ = packed(MemoryStore(), files, ["/s"])
    assert packer.privileged == ["/s/a", "/s/b"]


def test_a_name_that_means_a_deletion_is_refused() -> None:
    with pytest.raises(ModelError, match=r"\.wh\.x"):
        packed(MemoryStore(), tree(file("/s/.wh.x")), ["/s"])


def test_more_attributes_than_a_header_holds_are_refused() -> None:
    with pytest.raises(ModelError, match="extended attributes"):
        packed(MemoryStore(), tree(file("/s/f", xattrs=(("user.a", bytes(pack.MAX_XATTRS)),))), ["/s"])


def test_ancestors_of_a_big_file_have_no_times_and_attributes() -> None:
    store = MemoryStore()
    files = tree(directory("/s", nanoseconds=5, xattrs=(("user.a", b"1"),)), file("/s/big", BIG))
    _, descriptors, layers = packed(store, files, ["/s"])
    first, last = (read(store, *both)[0] for both in zip(descriptors, layers, strict=True))
    assert (first.mtime, first.nanoseconds, first.xattrs) == (0, 0, ())
    assert (last.nanoseconds, last.xattrs) == (5, (("user.a", b"1"),))


def test_what_no_reader_takes_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="too long a path"):
        packed(MemoryStore(), tree(file("/s/" + "x" * 256)), ["/s"])
    with pytest.raises(ModelError, match="more than 1000 files with setuid"):
        packed(MemoryStore(), tree(*(file(f"/s/{number}", mode=0o4755) for number in range(1001))), ["/s"])
    monkeypatch.setattr(pack, "MAX_STATE", 3)
    with pytest.raises(ModelError, match="more entries"):
        packed(MemoryStore(), tree(*(file(f"/s/{number}") for number in range(3))), ["/s"])


def test_entries_out_of_order_are_refused() -> None:
    packer = pack.Packer(lambda: MemoryBlob(MemoryStore()), ["/s"], 1, Pipeline())
    for entry, data in (directory("/s"), file("/s/b")):
        packer.add(entry, io.BytesIO(data))
    for again in ("/s/a", "/s/b"):
        with pytest.raises(ModelError, match="out of order"):
            packer.add(file(again)[0], io.BytesIO(b"data"))


def test_a_link_to_something_hidden_is_refused() -> None:
    packer = pack.Packer(lambda: MemoryBlob(MemoryStore()), ["/s"], 1, Pipeline())
    packer.add(directory("/s")[0], io.BytesIO())
    packer.skip("/s/hidden")
    with pytest.raises(ModelError, match="which a mount hides"):
        packer.add(link("/s/x", Kind.HARD_LINK, "/s/hidden")[0], io.BytesIO())


def test_contents_come_out_as_they_went_in() -> None:
    store = MemoryStore()
    _, descriptors, layers = packed(store, tree(file("/s/big", BIG), file("/s/small", b"hello")), ["/s"])
    found = {}
    for descriptor, described in zip(descriptors, layers, strict=True):
        with store.open(descriptor) as blob, layer_reader.decompressed(blob, described, "here") as stream:
            found |= {entry.path: content.read() for entry, content in tar.read(stream)}
    assert found["/s/big"] == BIG
    assert found["/s/small"] == b"hello"
    assert paths.sort_key("/s/big") < paths.sort_key("/s/small")


def test_a_layer_lists_exports_of_any_name() -> None:
    """Found by `make soak`."""
    _, _, layers = packed(MemoryStore(), tree(file("/s/☃")), ["/s/☃"])
    assert layers[0].exports == ("/s/%E2%98%83",)
