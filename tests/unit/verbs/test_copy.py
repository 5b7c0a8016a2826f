from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree

from bundler.bundle import read_bundle
from bundler.concurrency import parallel
from bundler.errors import IntegrityError, NotFoundError, StoreError
from bundler.format import artifact
from bundler.format.content import Descriptor, Digest, VerifyingReader
from bundler.streams import Begun, Stream
from bundler.verbs import copy


@pytest.fixture
def source() -> MemoryStore:
    store = MemoryStore()
    bundle(store, tree(file("/s/f", b"12345")))
    return store


def test_a_copy_keeps_the_digest_and_shows_its_progress(source: MemoryStore) -> None:
    target, progress = MemoryStore("2"), RecordingProgress()
    result = copy.copy(source, target, progress)
    assert target.tags["2"] == source.tags["1"]
    assert read_bundle(target) == read_bundle(source)
    assert progress.done == result.sent == sum(blob.size for blob in result.bundle.manifest.blobs)


def test_blobs_that_are_there_are_skipped_and_count_as_done(source: MemoryStore) -> None:
    target, progress = MemoryStore(), RecordingProgress()
    (layer,) = read_bundle(source).manifest.layers
    target.blobs[layer.digest] = source.blobs[layer.digest]
    result = copy.copy(source, target, progress)
    assert result.skipped == layer.size
    assert progress.done == result.sent + result.skipped


@pytest.mark.parametrize("which", [0, -1])
def test_a_source_that_is_damaged_gives_no_name_in_the_target(source: MemoryStore, which: int) -> None:
    found = read_bundle(source)
    blob = found.manifest.blobs[which]
    source.blobs[blob.digest] = source.blobs[blob.digest][:-1] + b"?"
    target = MemoryStore()
    with pytest.raises(IntegrityError):
        copy.copy(source, target, RecordingProgress(), found)
    assert target.tags == {}


def test_a_tag_that_moves_during_a_copy_does_not_mix_two_bundles(source: MemoryStore) -> None:
    class Moving(MemoryStore):
        def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
            self.tags["1"] = moved
            return super().open(blob, begun)

    first = source.tags["1"]
    moved = bundle(source, tree(file("/s/f", b"other")))
    moving, target = Moving(shared=source), MemoryStore()
    moving.tags["1"] = first
    copy.copy(moving, target, RecordingProgress())
    assert target.tags["1"] == first
    assert read_bundle(target).digest == first.digest


def test_an_unknown_name_is_not_found(source: MemoryStore) -> None:
    with pytest.raises(NotFoundError):
        read_bundle(MemoryStore("unknown", shared=source))


def test_an_index_is_no_bundle(source: MemoryStore) -> None:
    source.tags["1"] = replace(source.tags["1"], media_type=artifact.INDEX)
    with pytest.raises(IntegrityError, match="this is an index of images, not a bundle") as caught:
        read_bundle(source)
    assert "fps-bundle push" in caught.value.hint


def changed(source: MemoryStore, **fields: object) -> None:
    content = json.loads(source.blobs[source.tags["1"].digest]) | fields
    data = json.dumps(content).encode()
    source.tags["1"] = Descriptor.of(artifact.MANIFEST, data)
    source.blobs[Digest.of(data)] = data


@pytest.mark.parametrize("count", [0, 2])
def test_manifest_and_metadata_must_speak_of_as_many_layers(source: MemoryStore, count: int) -> None:
    (layer,) = read_bundle(source).manifest.layers
    changed(source, layers=[layer.to_json()] * count)
    with pytest.raises(IntegrityError, match=f"describes 1 layer, the manifest {count}"):
        read_bundle(source)


class Endless(Stream):
    """A blob that gives zeros for as long as it is asked."""

    def __init__(self) -> None:
        self.given = 0

    def read(self, size: int = -1, /) -> bytes:
        self.given += size
        assert self.given <= 16 << 20, "read into memory without end"
        return bytes(size)

    def close(self) -> None: ...


@pytest.mark.parametrize("what", ["manifest", "config"])
def test_a_document_of_gigabytes_is_refused_before_it_fills_the_memory(source: MemoryStore, what: str) -> None:
    class Hostile(MemoryStore):
        def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
            if blob.size == huge.size:
                return VerifyingReader(Endless(), huge, self.where)
            return super().open(blob, begun)

    huge = Descriptor(artifact.CONFIG if what == "config" else artifact.MANIFEST, Digest.of(b"huge"), 8 << 30)
    hostile = Hostile(shared=source)
    if what == "config":
        changed(hostile, config=huge.to_json())
    else:
        hostile.tags["1"] = huge
    with pytest.raises(IntegrityError, match="longer than"):
        read_bundle(hostile)


def test_a_target_that_breaks_off_has_no_name(source: MemoryStore) -> None:
    target = MemoryStore()
    target.broken = True
    with pytest.raises(StoreError):
        copy.copy(source, target, RecordingProgress())
    assert target.tags == {}


def test_a_plan_is_what_a_copy_then_does(source: MemoryStore) -> None:
    target = MemoryStore()
    (layer,) = read_bundle(source).manifest.layers
    target.blobs[layer.digest] = source.blobs[layer.digest]
    planned = copy.plan(source, target, read_bundle(source))
    assert planned.there == [layer]
    assert target.tags == {}
    done = copy.copy(source, target, RecordingProgress())
    assert (done.sent, done.skipped) == (planned.size, layer.size)


@pytest.mark.parametrize("interrupt", [False, True])
def test_when_one_blob_fails_the_others_are_given_up(interrupt: bool) -> None:
    error: type[BaseException] = KeyboardInterrupt if interrupt else StoreError
    stop, done = threading.Event(), []

    def work(item: int) -> None:
        if item == 0:
            raise error("enough")
        while not stop.wait(0.01):
            pass
        done.append(item)

    with pytest.raises(error):
        parallel.each(work, range(100), 3, stop)
    assert len(done) <= 2


def test_work_is_done_by_several_at_once_and_all_of_it() -> None:
    together, done = threading.Barrier(3, timeout=10), []

    def work(item: int) -> None:
        together.wait()
        done.append(item)

    parallel.each(work, range(9), 3, threading.Event())
    assert sorted(done) == list(range(9))
