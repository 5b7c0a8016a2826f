"""What differs between the files of two bundles, and which layers are looked at for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from bundles import bundle, without_tables
from fakes import MemoryStore, RecordingProgress, Tree, WatchedStore, directory, file, link, tree

from bundler.bundle import read_bundle
from bundler.format.content import Digest
from bundler.format.pack import BIG
from bundler.format.tar import Entry, Kind
from bundler.verbs import diff
from bundler.verbs.diff import Change, Difference, Total
from bundler.verbs.listing import Node

DIRECTORY = directory("/s")


def stored(*members: tuple[Entry, bytes], removed: tuple[str, ...] = (), **options: Any) -> WatchedStore:
    store = WatchedStore()
    bundle(store, tree(DIRECTORY, *members), removed=removed, **options)
    return store


def found(old: MemoryStore, new: MemoryStore) -> list[tuple[str, Change, tuple[str, ...]]]:
    one, other = read_bundle(old), read_bundle(new)
    told = list(diff.find(one, old, other, new, RecordingProgress()))
    olds, news = without_tables(old), without_tables(new)
    assert list(diff.find(olds, old, news, new, RecordingProgress())) == told
    return [(it.path, it.change, it.fields) for it in told]


F = file("/s/f", b"one")


@pytest.mark.parametrize(
    ("old", "new", "change", "fields"),
    [
        ([], [F], Change.ADDED, ()),
        ([F], [], Change.REMOVED, ()),
        ([F], [file("/s/f", b"two")], Change.CONTENT, ("content",)),
        ([F], [file("/s/f", b"two", mtime=5)], Change.CONTENT, ("content", "time")),
        ([F], [directory("/s/f")], Change.CONTENT, ("type",)),
        ([F], [file("/s/f", b"one", mode=0o600)], Change.METADATA, ("mode",)),
        ([F], [file("/s/f", b"one", uid=5)], Change.METADATA, ("owner",)),
        ([F], [file("/s/f", b"one", nanoseconds=5)], Change.METADATA, ("time",)),
        ([F], [file("/s/f", b"one", xattrs=(("user.a", b"1"),))], Change.METADATA, ("attributes",)),
        ([link("/s/f", Kind.SYMLINK, "a")], [link("/s/f", Kind.SYMLINK, "b")], Change.METADATA, ("target",)),
    ],
)
def test_each_difference_is_told_for_what_it_is(old: Any, new: Any, change: Change, fields: tuple[str, ...]) -> None:
    around = (file("/s/a"), file("/s/z"))
    assert found(stored(*around, *old), stored(*around, *new)) == [("/s/f", change, fields)]


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (None, "deleted", Change.DELETED),
        ("deleted", None, Change.RESTORED),
        ("there", "deleted", Change.REMOVED),
        ("deleted", "there", Change.ADDED),
    ],
)
def test_what_the_base_has_is_told_from_what_the_bundle_has(old: str | None, new: str | None, change: Change) -> None:
    stores = [stored(*[F] * (how == "there"), removed=("/s/f",) * (how == "deleted")) for how in (old, new)]
    assert found(*stores) == [("/s/f", change, ())]


def test_nothing_differs_where_both_have_the_same_or_delete_the_same() -> None:
    assert found(stored(F, removed=("/s/g",)), stored(F, removed=("/s/g",), created="2027-01-01T00:00:00Z")) == []


def test_differences_come_in_walking_order() -> None:
    old = stored(file("/s/a/1"), file("/s/a.b"), file("/s/c"))
    new = stored(file("/s/a/2"), file("/s/a.b", b"x"), file("/s/0"))
    assert [path for path, _, _ in found(old, new)] == ["/s/0", "/s/a/1", "/s/a/2", "/s/a.b", "/s/c"]


def test_layers_that_both_have_are_not_read() -> None:
    big = file("/s/big", bytes(BIG))
    old, new = stored(big, file("/s/x")), stored(big, file("/s/x", b"other"))
    one, other = read_bundle(old), read_bundle(new)
    assert len(one.manifest.layers) == 2
    (told,) = diff.find(one, old, other, new, RecordingProgress())
    assert told.path == "/s/x"
    assert [digest for digest, _, _ in old.ranges] == [one.manifest.layers[1].digest]
    assert [digest for digest, _, _ in new.ranges] == [other.manifest.layers[1].digest]


@pytest.mark.parametrize("lying", ["diff ID", "none"])
def test_a_diff_id_that_the_layer_contradicts_hides_nothing(lying: str) -> None:
    """Metadata may say anything of a layer: the same diff ID of another blob is looked at, as is another one of the same."""
    old, new = stored(F), stored(file("/s/f", b"changed"))
    one, other = read_bundle(old), read_bundle(new)
    if lying == "diff ID":
        layers = [it.model_copy(update={"diff_id": one.metadata.layers[0].diff_id}) for it in other.metadata.layers]
        other = replace(other, metadata=other.metadata.model_copy(update={"layers": tuple(layers)}))
        assert one.metadata.layers[0].diff_id == other.metadata.layers[0].diff_id
    (told,) = diff.find(one, old, other, new, RecordingProgress())
    assert (told.path, told.fields) == ("/s/f", ("content",))


def test_the_same_content_in_another_compression_does_not_differ() -> None:
    old, new = stored(F), stored(F)
    one, other = read_bundle(old), read_bundle(new)
    moved = [replace(blob, digest=Digest.of(b"another blob")) for blob in other.manifest.layers]
    new.blobs[moved[0].digest] = new.blobs[other.manifest.layers[0].digest]
    other = replace(other, manifest=replace(other.manifest, layers=tuple(moved)))
    assert list(diff.find(one, old, other, new, RecordingProgress())) == []
    assert len(old.ranges + new.ranges) == 2


def test_two_bundles_of_the_same_layers_need_none_of_them() -> None:
    old, new = stored(F), stored(F, created="2027-01-01T00:00:00Z")
    assert list(diff.find(read_bundle(old), old, read_bundle(new), new, RecordingProgress())) == []
    assert not old.ranges + new.ranges


def test_the_same_layer_says_something_else_under_other_exports() -> None:
    members: Tree = tree(directory("/s", mtime=0), directory("/s/t", mtime=0), file("/s/t/f"))
    old, new = MemoryStore(), MemoryStore()
    bundle(old, members, tops=["/s/t"])
    bundle(new, members, tops=["/s"])
    one, other = read_bundle(old), read_bundle(new)
    assert one.metadata.layers[0].diff_id == other.metadata.layers[0].diff_id
    assert list(diff.find(one, old, other, new, RecordingProgress())) == []


def test_totals_count_paths_and_bytes() -> None:
    total = Total()
    node = Node("/s/f", F[0], Digest.of(F[1]))
    total.add(Difference(Change.ADDED, None, node))
    total.add(Difference(Change.CONTENT, node, replace(node, entry=replace(F[0], size=5))))
    total.add(Difference(Change.REMOVED, node, Node("/s/f")))
    assert (total.paths, total.old_size, total.new_size) == (3, 6, 8)
