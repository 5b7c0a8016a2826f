"""Making deltas: what is sent whole, and what stays in the local store."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from bundles import bundle, without_tables
from fakes import MemoryStore, RecordingProgress, file, tree

from bundler.bundle import Bundle, read_bundle
from bundler.format.reference import LocalReference
from bundler.format.toc import CHUNK
from bundler.stores.layout.local import LocalSpool, LocalStore
from bundler.verbs import delta

WEIGHTS = random.Random(1).randbytes(200_000)


@pytest.fixture(autouse=True)
def blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    return LocalStore(LocalReference("")).blobs


def stored(log: bytes, weights: bytes = WEIGHTS) -> MemoryStore:
    store = MemoryStore()
    bundle(store, tree(file("/s/weights", weights), file("/s/log", log)))
    return store


def test_the_blobs_of_a_delta_are_there_for_the_length_of_the_block(blobs: Path) -> None:
    old, new = stored(b"one"), stored(b"two")
    with delta.made(read_bundle(new), new, read_bundle(old), old, LocalSpool(), RecordingProgress()) as made:
        (layer,) = read_bundle(new).manifest.layers
        assert list(made.manifest.diffs) == [layer.digest]
        assert (made.manifest.whole, made.refused) == ({}, [])
        assert len(list(blobs.iterdir())) == 3
    assert list(blobs.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_nothing_stays_of_a_delta_that_fails(error: type[BaseException], blobs: Path) -> None:
    old, new = stored(b"one"), stored(b"two")

    class Failing(RecordingProgress):
        def advance(self, count: int) -> None:
            del count
            raise error

    with pytest.raises(error), delta.made(read_bundle(new), new, read_bundle(old), old, LocalSpool(), Failing()):
        pass
    assert list(blobs.iterdir()) == []


def whole_layers(new: Bundle, store: MemoryStore) -> None:
    old = stored(b"one")
    with delta.made(new, store, read_bundle(old), old, LocalSpool(), RecordingProgress()) as made:
        assert made.refused == list(new.manifest.layers)
        assert list(made.manifest.whole) == [layer.digest for layer in new.manifest.layers]
        assert made.manifest.diffs == {}


def test_a_layer_without_a_table_is_sent_whole() -> None:
    store = stored(b"two")
    whole_layers(without_tables(store), store)


def test_a_layer_whose_tar_diff_is_not_smaller_is_sent_whole() -> None:
    store = stored(b"", random.Random(2).randbytes(200_000))
    whole_layers(read_bundle(store), store)


def test_a_new_long_file_alone_is_sent_whole_without_a_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "LayerDelta", lambda *_: pytest.fail("compared"))
    store = MemoryStore()
    bundle(store, tree(file("/s/new", random.Random(3).randbytes(CHUNK + 1))))
    whole_layers(read_bundle(store), store)


def test_a_layer_that_the_source_has_is_not_sent() -> None:
    old = stored(b"one")
    new = MemoryStore()
    bundle(new, tree(file("/s/weights", WEIGHTS), file("/s/log", b"one")), created="2027-01-01T00:00:00Z")
    with delta.made(read_bundle(new), new, read_bundle(old), old, LocalSpool(), RecordingProgress()) as made:
        assert (made.manifest.diffs, made.manifest.whole) == ({}, {})
