"""What travels while the rest is packed, and how the copy of the whole bundle goes on with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, directory, file, tree

from bundler.bundle import read_bundle
from bundler.errors import StoreError
from bundler.format import pack
from bundler.format.content import Descriptor, Digest
from bundler.ports import Store, Upload
from bundler.streams import Opener
from bundler.verbs import copy, early_upload
from bundler.verbs.early_upload import Sender

WAIT = 30


class SlowUpload:
    """An upload that stops in the middle of each blob until it may go on, and then fails as often as it was told."""

    def __init__(self, upload: Upload, failures: int = 0) -> None:
        self.has, self.add, self.reserve, self.commit = upload.has, upload.add, upload.reserve, upload.commit
        self._upload = upload
        self._failures = failures
        self.in_the_middle = threading.Event()
        self.may_go_on = threading.Event()
        self.puts: list[Digest] = []

    @property
    def sent(self) -> int:
        return self._upload.sent

    def put(self, blob: Descriptor, opened: Opener) -> None:
        self.puts.append(blob.digest)
        with opened() as content:
            content.read(1)
            self.in_the_middle.set()
            assert self.may_go_on.wait(WAIT)
            content.read(1)
        if self._failures:
            self._failures -= 1
            raise StoreError("the link is down")
        self._upload.put(blob, opened)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    monkeypatch.setattr(pack, "BIG", 1000)
    store = MemoryStore()
    bundle(store, tree(directory("/s"), file("/s/big", bytes(5000)), file("/s/large", b"x" * 5000), file("/s/z", b"last")))
    return store


@contextmanager
def slow(target: Store, source: Store, blobs: Sequence[Descriptor], failures: int = 0) -> Iterator[tuple[SlowUpload, Sender]]:
    with target.upload("") as inner:
        upload = SlowUpload(inner, failures)
        sender = Sender(source, upload, blobs)
        try:
            yield upload, sender
        finally:
            upload.may_go_on.set()
            sender.close()


@pytest.mark.parametrize("failures", [0, 1])
def test_a_copy_goes_on_with_the_blob_that_is_under_way(source: MemoryStore, failures: int) -> None:
    found, target, progress = read_bundle(source), MemoryStore(), RecordingProgress()
    first, second, *_ = found.manifest.layers
    with slow(target, source, [first, second], failures) as (upload, sender):
        assert upload.in_the_middle.wait(WAIT)
        threading.Timer(0.05, upload.may_go_on.set).start()
        result = copy.copy(source, target, progress, found, early=sender)
    assert read_bundle(target).digest == found.digest
    assert upload.puts.count(first.digest) == 1 + failures
    assert upload.puts.count(second.digest) == 1
    size = sum(blob.size for blob in found.manifest.blobs)
    assert (result.sent, result.skipped, progress.done) == (size, 0, size)


def test_what_arrived_early_counts_as_sent_and_is_sent_once(source: MemoryStore) -> None:
    found, target = read_bundle(source), MemoryStore()
    with slow(target, source, found.manifest.layers) as (upload, sender):
        upload.may_go_on.set()
        while not all(blob.digest in target.blobs for blob in found.manifest.layers):
            assert not sender.stop.wait(0.01)
        result = copy.copy(source, target, RecordingProgress(), found, early=sender)
    assert result.sent == sum(blob.size for blob in found.manifest.blobs)
    assert len(upload.puts) == len(found.manifest.blobs)


def test_what_the_target_had_before_is_not_counted(source: MemoryStore) -> None:
    found, target = read_bundle(source), MemoryStore()
    copy.copy(source, target, RecordingProgress(), found)
    with slow(target, source, found.manifest.layers) as (_, sender):
        assert copy.copy(source, target, RecordingProgress(), found, early=sender).sent == 0


def test_what_arrived_and_was_lost_is_sent_again(source: MemoryStore) -> None:
    found, target = read_bundle(source), MemoryStore()
    first = found.manifest.layers[0]
    with slow(target, source, [first]) as (upload, sender):
        upload.may_go_on.set()
        while first.digest not in target.blobs:
            assert not sender.stop.wait(0.01)
        del target.blobs[first.digest]
        copy.copy(source, target, RecordingProgress(), found, early=sender)
    assert read_bundle(target).digest == found.digest
    assert first.digest in target.blobs


def test_after_the_end_nothing_goes_on(source: MemoryStore) -> None:
    found, target = read_bundle(source), MemoryStore()
    with slow(target, source, found.manifest.layers[:1]) as (upload, sender):
        assert upload.in_the_middle.wait(WAIT)
        sender.stop.set()
        upload.may_go_on.set()
        with pytest.raises(StoreError, match="another part of the transfer failed"):
            copy.copy(source, target, RecordingProgress(), found, early=sender)
    assert (target.tags, target.blobs) == ({}, {})


def test_nothing_is_sent_early_to_where_nothing_is_far_away() -> None:
    with early_upload.sending(MemoryStore(), MemoryStore(), []) as sender:
        assert sender is None
