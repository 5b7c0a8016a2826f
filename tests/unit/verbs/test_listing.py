"""The files of a bundle, read from the tables of its layers, and no more than is needed."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from functools import cache

import pytest
from bundles import bundle, with_layers, without_tables
from fakes import MemoryStore, RecordingProgress, Tree, WatchedStore, directory, file, link, tree

from bundler.bundle import Bundle, read_bundle
from bundler.errors import BundlerError, IntegrityError, NotFoundError, UsageError
from bundler.format import artifact, file_reader, paths
from bundler.format.content import Descriptor, Digest, VerifyingReader
from bundler.format.pack import BIG
from bundler.format.tar import Kind
from bundler.format.toc import CHUNK, Item, Table, TableWriter, read
from bundler.verbs import listing
from bundler.verbs.listing import Node

LARGE = random.Random(1).randbytes(2 * CHUNK + 5)
FILES = tree(
    directory("/s"),
    directory("/s/d", mode=0o2755),
    file("/s/d/deep", b"deep"),
    file("/s/empty", b""),
    file("/s/large", LARGE),
    link("/s/same", Kind.HARD_LINK, "/s/large"),
    link("/s/to", Kind.SYMLINK, "d"),
    file("/s/with", b"with", nanoseconds=5),
    file("/s/é%", b"unicode"),
)
REMOVED = ("/s/gone",)


@cache
def _packed() -> MemoryStore:
    store = MemoryStore()
    bundle(store, FILES, removed=REMOVED)
    return store


def made() -> tuple[Bundle, WatchedStore]:
    """The bundle of `FILES`, in a store of its own."""
    store = WatchedStore()
    store.blobs |= _packed().blobs
    store.tags |= _packed().tags
    return read_bundle(store), store


def with_table(store: MemoryStore, *items: Item) -> Bundle:
    """The bundle of a store with these items in the table of its last layer, as a liar would write it."""
    *others, layer = read_bundle(store).manifest.layers
    table = Table.of(layer)
    assert table
    writer = TableWriter()
    for item in items:
        writer.add(item)
    tail, told = writer.finish(table.begin)
    assert told
    data = store.blobs[layer.digest][: table.begin] + tail
    forged = replace(Descriptor.of(artifact.LAYER, data), annotations=told.annotations)
    store.blobs[forged.digest] = data
    return with_layers(store, [*others, forged])


def items(store: MemoryStore) -> list[Item]:
    """What the table of the last layer tells."""
    layer = read_bundle(store).manifest.layers[-1]
    table = Table.of(layer)
    assert table
    data = store.blobs[layer.digest][table.offset : table.offset + table.length]
    return list(read(VerifyingReader(io.BytesIO(data), Descriptor("x", Digest.of(data), len(data)), "here"), table, "here"))


def listed(found: Bundle, store: MemoryStore) -> list[Node]:
    return list(listing.tree(found, store, RecordingProgress()))


def content(found: Bundle, store: MemoryStore, path: str) -> bytes:
    return b"".join(listing.content(found, store, path, RecordingProgress()))


def nodes(members: Tree, removed: tuple[str, ...] = REMOVED) -> list[Node]:
    """What should be told of some files."""
    found = [Node(path, entry, Digest.of(data) if entry.kind is Kind.FILE else None) for path, (entry, data) in members.items()]
    return sorted([*found, *map(Node, removed)], key=lambda node: paths.sort_key(node.path))


def test_all_files_are_told_without_opening_a_layer() -> None:
    found, store = made()
    opened = list(store.opened)
    assert listed(found, store) == nodes(FILES)
    assert store.opened == opened
    (layer,) = found.manifest.layers
    table = Table.of(layer)
    assert table
    assert store.ranges == [(layer.digest, table.offset, table.length)]


def test_layers_without_a_table_are_read_and_tell_the_same() -> None:
    _, store = made()
    progress = RecordingProgress()
    assert list(listing.tree(without_tables(store), store, progress)) == nodes(FILES)
    assert "no table" in progress.notes[0]
    assert not store.ranges


def test_files_whose_names_no_table_tells_are_told() -> None:
    members = tree(directory("/s"), file("/s/latin-\udce9", b"x"))
    store = MemoryStore()
    bundle(store, members)
    found = read_bundle(store)
    assert listed(found, store) == nodes(members, ())
    assert content(found, store, listing.parse("/s/latin-%E9")) == b"x"


@pytest.fixture(scope="module")
def big() -> tuple[Tree, WatchedStore]:
    """A bundle of two layers, of which the first has one big file and another name of it."""
    members = tree(
        directory("/s"),
        directory("/s/b", mode=0o700),
        file("/s/b/big", bytes(BIG)),
        file("/s/b/small", b"small"),
        link("/s/b/twin", Kind.HARD_LINK, "/s/b/big"),
        file("/s/z", b"z"),
    )
    store = WatchedStore()
    bundle(store, members)
    return members, store


def test_all_layers_are_one_tree(big: tuple[Tree, WatchedStore]) -> None:
    members, store = big
    found = read_bundle(store)
    assert len(found.manifest.layers) == 2
    assert listed(found, store) == nodes(members, ())
    assert listed(without_tables(store), store) == nodes(members, ())


def test_a_file_is_found_in_whichever_layer_it_is(big: tuple[Tree, WatchedStore]) -> None:
    members, store = big
    for found in (read_bundle(store), without_tables(store)):
        for path in ("/s/b/big", "/s/b/twin", "/s/b/small", "/s/z"):
            assert content(found, store, path) == (members[path][1] or bytes(BIG))
        with pytest.raises(NotFoundError, match="directory"):
            content(found, store, "/s/b")


def test_content_comes_out_of_the_frames_that_hold_it() -> None:
    found, store = made()
    (layer,) = found.manifest.layers
    (item,) = [item for item in items(store) if item.entry.path == "/s/large"]
    store.opened.clear()
    assert content(found, store, "/s/large") == LARGE
    assert store.ranges[-1] == (layer.digest, item.chunks[0].offset, item.end - item.chunks[0].offset)
    assert not store.opened


@pytest.mark.parametrize("has_tables", [True, False])
@pytest.mark.parametrize("path", ["/s/d/deep", "/s/empty", "/s/same", "/s/with", "/s/%C3%A9%25", "/s/é%"])
def test_the_content_of_every_file_can_be_had(path: str, has_tables: bool) -> None:
    found, store = made()
    whole = listing.parse(path)
    data = LARGE if whole == "/s/same" else FILES[whole][1]
    assert content(found if has_tables else without_tables(store), store, whole) == data


@pytest.mark.parametrize("has_tables", [True, False])
@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/", "'/' is a directory"),
        ("/s", "'/s' is a directory"),
        ("/s/to", "'/s/to' is a symbolic link to 'd'"),
        ("/s/to/deep", "'/s/to' is a symbolic link to 'd'"),
        ("/s/gone/x", "'/s/gone/x' is deleted"),
        ("/s/nothing", "'/s/nothing' is not in the bundle"),
        ("/elsewhere", "'/elsewhere' is not in the bundle"),
    ],
)
def test_what_is_no_file_is_told(path: str, told: str, has_tables: bool) -> None:
    found, store = made()
    with pytest.raises(NotFoundError, match=told) as caught:
        content(found if has_tables else without_tables(store), store, path)
    assert caught.value.exit_code == 6


def test_a_directory_above_the_exports_is_one() -> None:
    store = MemoryStore()
    bundle(store, tree(file("/opt/x/f"), file("/other/f")), tops=["/opt/x", "/other"], removed=("/other/gone",))
    found = read_bundle(store)
    assert [node.path for node in listed(found, store)] == ["/opt", "/opt/x", "/opt/x/f", "/other", "/other/f", "/other/gone"]
    with pytest.raises(NotFoundError, match="directory"):
        content(found, store, "/opt")


@pytest.mark.parametrize("text", ["s", "", "/s/../x", "/s//x", "./s"])
def test_a_path_must_be_absolute(text: str) -> None:
    with pytest.raises(UsageError):
        listing.parse(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/s/%C3%A9", "/s/é"),
        ("/s/é", "/s/é"),
        ("/s/100%", "/s/100%"),
        ("/s/100%25", "/s/100%"),
        ("/s/%41", "/s/%41"),
        ("/s/%E9", "/s/\udce9"),
        ("/s/", "/s"),
        ("/", "/"),
    ],
)
def test_a_path_is_taken_as_it_is_or_as_it_is_printed(text: str, path: str) -> None:
    assert listing.parse(text) == path


def damage(store: MemoryStore, layer: Descriptor, position: int) -> None:
    data = bytearray(store.blobs[layer.digest])
    data[position] ^= 1
    store.blobs[layer.digest] = bytes(data)


def test_a_damaged_chunk_is_not_given_out_but_those_before_it_are() -> None:
    found, store = made()
    (item,) = [item for item in items(store) if item.entry.path == "/s/large"]
    damage(store, found.manifest.layers[0], item.chunks[1].offset + 1000)
    given = []
    with pytest.raises(IntegrityError, match="'/s/large' is damaged"):
        given.extend(listing.content(found, store, "/s/large", RecordingProgress()))
    assert b"".join(given) == LARGE[:CHUNK]


def test_every_flip_in_the_frame_of_a_file_is_noticed() -> None:
    found, store = made()
    (item,) = [item for item in items(store) if item.entry.path == "/s/with"]
    for position in range(item.chunks[0].offset, item.end):
        damage(store, found.manifest.layers[0], position)
        with pytest.raises(IntegrityError):
            content(found, store, "/s/with")
        damage(store, found.manifest.layers[0], position)
    assert content(found, store, "/s/with") == b"with"


def test_no_content_comes_by_a_damaged_table() -> None:
    found, store = made()
    table = Table.of(found.manifest.layers[0])
    assert table
    for position in (table.offset, table.offset + table.length // 2, table.offset + table.length - 1):
        damage(store, found.manifest.layers[0], position)
        with pytest.raises(IntegrityError, match=f"{table.digest} is damaged"):
            next(listing.content(found, store, "/s/d/deep", RecordingProgress()))
        with pytest.raises(IntegrityError, match=f"{table.digest} is damaged"):
            listed(found, store)
        damage(store, found.manifest.layers[0], position)


def test_a_blob_that_ends_too_early_is_damaged() -> None:
    found, store = made()
    (layer,) = found.manifest.layers
    store.blobs[layer.digest] = store.blobs[layer.digest][:-200]
    with pytest.raises(IntegrityError, match="too early"):
        listed(found, store)


def test_without_a_table_a_damaged_layer_is_noticed_at_its_end() -> None:
    _, store = made()
    found = without_tables(store)
    (layer,) = found.manifest.layers
    damage(store, layer, layer.size - 1)
    given = []
    with pytest.raises(IntegrityError, match="damaged"):
        given.extend(listing.content(found, store, "/s/d/deep", RecordingProgress()))
    assert given == [b"deep"]


def forged(store: MemoryStore, how: str) -> Bundle:
    told = items(store)
    if how == "order":
        told[1], told[2] = told[2], told[1]
    elif how == "twice":
        told[2] = told[1]
    elif how == "fewer":
        told.pop()
    elif how == "more":
        told.append(Item(file("/s/zz", b"")[0]))
    elif how == "removed":
        told[1] = Item(file("/s/gone", b"")[0])
    return with_table(store, *told)


@pytest.mark.parametrize("how", ["order", "twice", "fewer", "more", "removed"])
def test_a_table_that_is_no_tree_is_refused(how: str) -> None:
    _, store = made()
    with pytest.raises(IntegrityError):
        listed(forged(store, how), store)


def lie(item: Item, how: str) -> Item:
    """Tell something else of a file's content."""
    first, *others = item.chunks
    other = Digest.of(b"other")
    if how == "chunk":
        return replace(item, digest=item.digest if others else other, chunks=(replace(first, digest=other), *others))
    if how == "whole":
        return replace(item, digest=other)
    if how == "earlier":
        return replace(item, chunks=(replace(first, offset=first.offset - 1), *others))
    return replace(item, end=1 << 40)


@pytest.mark.parametrize(
    ("path", "how", "given"),
    [
        ("/s/with", "chunk", 0),
        ("/s/with", "earlier", 0),
        ("/s/with", "beyond", 0),
        ("/s/large", "chunk", 0),
        ("/s/large", "whole", 2 * CHUNK),
        ("/s/large", "earlier", 0),
        ("/s/large", "beyond", 0),
    ],
)
def test_nothing_is_given_that_is_not_what_the_table_tells(path: str, how: str, given: int) -> None:
    _, store = made()
    told = [lie(item, how) if item.entry.path == path else item for item in items(store)]
    got = []
    with pytest.raises(IntegrityError):
        got.extend(listing.content(with_table(store, *told), store, path, RecordingProgress()))
    assert len(b"".join(got)) == given


def test_frames_that_break_off_give_an_error_of_ours() -> None:
    _, store = made()
    (item,) = [item for item in items(store) if item.entry.path == "/s/with"]
    with pytest.raises(BundlerError):
        list(file_reader.read(io.BytesIO(b""), item, "here"))
