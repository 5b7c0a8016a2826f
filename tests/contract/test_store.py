"""What every store promises, whatever it is made of."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree
from places import Place

from bundler.bundle import read_bundle
from bundler.errors import BundlerError, IntegrityError, NotFoundError, StoreError
from bundler.format.content import Descriptor, Digest
from bundler.streams import Begun, Stream
from bundler.verbs import copy


@pytest.fixture
def source() -> MemoryStore:
    store = MemoryStore()
    bundle(store, tree(file("/s/f", b"x" * 100_000), file("/s/g", b"unique")))
    return store


def run_copy(source: MemoryStore, place: Place, name: str = "1") -> copy.CopyResult:
    return copy.copy(source, place.open(name), RecordingProgress())


def names(place: Place) -> set[str]:
    """The tags in a place; the local store also has names of bundles that lost theirs."""
    try:
        return {named.name.rpartition(":")[2] for named in place.open().names() if "@" not in named.name}
    except NotFoundError:
        return set()


def test_a_bundle_comes_out_as_it_went_in(place: Place, source: MemoryStore) -> None:
    digest = run_copy(source, place).bundle.digest
    found = read_bundle(place.open())
    assert found.digest == digest
    assert found.manifest.data == source.blobs[digest]
    for blob in found.manifest.blobs:
        with place.open().open(blob) as stream:
            assert b"".join(iter(lambda: stream.read(1000), b"")) == source.blobs[blob.digest]


@pytest.mark.parametrize("place", ["memory", "layout", "archive", "local", "registry"], indirect=True)
def test_a_bundle_is_found_by_its_digest(place: Place, source: MemoryStore) -> None:
    digest = run_copy(source, place).bundle.digest
    assert read_bundle(place.open("other", digest)).digest == digest
    with pytest.raises(NotFoundError):
        place.open("1", Digest.of(b"another")).resolve()


def test_an_unknown_name_is_not_found(place: Place, source: MemoryStore) -> None:
    with pytest.raises(NotFoundError):
        place.open().resolve()
    run_copy(source, place)
    with pytest.raises(NotFoundError):
        place.open("unknown").resolve()


def test_what_is_there_is_not_sent_again(place: Place, source: MemoryStore) -> None:
    run_copy(source, place)
    again = run_copy(source, place)
    assert (again.sent == 0) is (place.skips or place.kind == "split")
    assert names(place) == {"1"}


def test_a_name_moves_to_the_bundle_that_came_last(place: Place, source: MemoryStore) -> None:
    run_copy(source, place)
    other = MemoryStore()
    bundle(other, created="2027-01-01T00:00:00Z")
    digest = run_copy(other, place).bundle.digest
    assert place.open().resolve().digest == digest
    assert names(place) == {"1"}


class _Breaking(MemoryStore):
    """Gives half of its second blob."""

    def __init__(self, sound: MemoryStore) -> None:
        super().__init__(shared=sound)
        self.count = 0

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        self.count += 1
        if self.count < 3:
            return super().open(blob, begun)
        return _Half(super().open(blob, begun))


class _Half(Stream):
    def __init__(self, whole: Stream) -> None:
        self._whole = whole
        self._given = False

    def read(self, size: int = -1, /) -> bytes:
        if self._given:
            raise StoreError("the link is down")
        self._given = True
        return self._whole.read(min(size, 10) if size >= 0 else 10)

    def close(self) -> None:
        self._whole.close()


def broken(source: MemoryStore, how: str) -> MemoryStore:
    if how == "breaks off":
        return _Breaking(source)
    damaged = MemoryStore()
    damaged.tags |= source.tags
    damaged.blobs |= source.blobs
    layer = read_bundle(source).manifest.layers[0]
    damaged.blobs[layer.digest] = source.blobs[layer.digest][:-1] + b"?"
    return damaged


@pytest.mark.parametrize(("how", "error"), [("breaks off", StoreError), ("is damaged", IntegrityError)])
def test_a_copy_that_fails_leaves_no_name(place: Place, source: MemoryStore, how: str, error: type[BundlerError]) -> None:
    with pytest.raises(error):
        run_copy(broken(source, how), place)
    assert names(place) == set()
    assert not [path for path in place.files() if "part" in path.name]
    if place.kind == "archive":
        assert place.files() == []


@pytest.mark.parametrize("how", ["breaks off", "is damaged"])
def test_a_copy_that_fails_leaves_the_old_bundle(place: Place, source: MemoryStore, how: str) -> None:
    old = MemoryStore()
    bundle(old, tree(file("/s/old", b"old")), created="2025-01-01T00:00:00Z")
    digest = run_copy(old, place).bundle.digest
    with pytest.raises(BundlerError):
        run_copy(broken(source, how), place)
    found = read_bundle(place.open())
    assert found.digest == digest
    for blob in found.manifest.blobs:
        with place.open().open(blob) as stream:
            while stream.read(1000):
                pass


@pytest.mark.parametrize("place", ["layout", "archive", "local", "registry"], indirect=True)
def test_a_changed_byte_in_the_store_is_noticed(place: Place, source: MemoryStore) -> None:
    found = run_copy(source, place).bundle
    layer = found.manifest.layers[0]
    content = source.blobs[layer.digest]
    sound = {path: data for path in place.files() if content in (data := path.read_bytes())}
    for path, data in sound.items():
        path.write_bytes(data.replace(content, content[:-1] + b"?"))
    try:
        with pytest.raises(IntegrityError, match=f"blob {layer.digest} is damaged"), place.open().open(layer) as stream:
            b"".join(iter(lambda: stream.read(1000), b""))
    finally:
        for path, data in sound.items():  # other tests use the registry
            path.write_bytes(data)


@pytest.mark.parametrize("place", ["layout", "archive", "local", "registry"], indirect=True)
def test_a_digest_cannot_be_overwritten(place: Place, source: MemoryStore) -> None:
    with pytest.raises(StoreError, match="its digest differs"):
        copy.copy(source, place.open("1", Digest.of(b"another")), RecordingProgress())
    assert names(place) == set()


@pytest.mark.parametrize("place", ["memory", "layout", "local", "registry"], indirect=True)
def test_two_at_once_both_stand(place: Place) -> None:
    results: list[Any] = []

    def one(name: str) -> None:
        store = MemoryStore()
        bundle(store, tree(file("/s/f", name.encode() * 5000)), created=f"2026-01-01T00:00:0{name}Z")
        results.append(run_copy(store, place, name).bundle.digest)

    threads = [threading.Thread(target=one, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(place) == {str(number) for number in range(6)}
    assert {read_bundle(place.open(str(number))).digest for number in range(6)} == set(results)
