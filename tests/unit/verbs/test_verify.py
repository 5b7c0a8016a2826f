"""What comes into the local store from elsewhere is verified while it comes, and once."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import applied
import pytest
from bundles import bundle
from fakes import FakeEngine, MemoryStore, RecordingProgress, directory, file, image, tree
from hostile.forge import FILE, TOP, Forgery, Member

from bundler.bundle import Bundle, read_bundle
from bundler.errors import IntegrityError, StoreError
from bundler.format.artifact import REF_NAME
from bundler.format.content import Descriptor, Digest
from bundler.format.reference import LocalReference
from bundler.localfs import state_directory
from bundler.ports import Store
from bundler.stores.layout import index, verified_cache
from bundler.stores.layout.local import LocalSpool, LocalStore
from bundler.streams import Begun, Opener, Stream
from bundler.verbs import copy, verify

BARE = directory("/s", mtime=0)
SOUND: list[list[Member]] = [[BARE, file("/s/big", b"big")], [TOP, FILE]]
HOSTILE: list[list[Member]] = [[BARE, FILE, file("/s/g")], [TOP]]
"""Of which the first layer is hostile."""
NAME = LocalReference("model", "1")
SPOOL = LocalSpool()


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


class Far(MemoryStore):
    """A store over a network, in which one blob's content is what ``instead`` makes of it."""

    rereadable = False
    parallel = 2

    def __init__(self, layers: list[list[Member]], **changes: Any) -> None:
        super().__init__()
        self.instead: dict[Descriptor, Callable[[Stream], Stream]] = {}
        files = Forgery(layers=layers, **changes).parts()
        (listed,) = json.loads(files[index.INDEX_FILE])["manifests"]
        self.blobs = {Digest.of(data): data for name, data in files.items() if name.startswith("blobs/")}
        found = Descriptor.from_json(listed)
        self.tags[found.annotations[REF_NAME]] = found
        self.bundle = read_bundle(self)

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        return self.instead.get(blob, lambda content: content)(super().open(blob, begun))


class Slow(Stream):
    """A content that comes byte by byte, in far more time than a verification takes, and counts them."""

    def __init__(self, content: Stream) -> None:
        self._content = content
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        time.sleep(0.2)
        self.count += 1
        return self._content.read(min(size, 1))


def failing(error: BaseException) -> Callable[[Stream], Stream]:
    """A blob that cannot be opened."""

    def opened(_: Stream) -> Stream:
        raise error

    return opened


def take_in(source: Far, progress: RecordingProgress | None = None, name: LocalReference = NAME) -> LocalStore:
    local = SPOOL.open(name)
    verify.take_in(source.bundle, source, local, SPOOL, progress or RecordingProgress())
    return local


def files(store: Path) -> set[str]:
    """The blobs in the store, whole or half."""
    return {str(path.relative_to(store)) for path in (store / "blobs" / "sha256").iterdir()}


def stages(source: Bundle, local: Store) -> list[str]:
    """What an apply of a bundle told."""
    progress = RecordingProgress()
    applied.apply(source, local, image(), "new:1", FakeEngine(), SPOOL, progress, dry_run=False, allow_privileged=True)
    return progress.stages


@pytest.mark.parametrize("rereadable", [True, False])
def test_of_a_hostile_bundle_nothing_stays_and_the_name_keeps_its_bundle(rereadable: bool, store: Path) -> None:
    former = take_in(Far(SOUND)).resolve()
    before = files(store), (store / "index.json").read_bytes()
    source = Far(HOSTILE)
    source.rereadable = rereadable
    with pytest.raises(IntegrityError, match="holds 2 files"):
        take_in(source)
    assert (files(store), (store / "index.json").read_bytes()) == before
    assert SPOOL.open(NAME).resolve() == former
    assert not SPOOL.is_verified(source.bundle.digest, SPOOL.open(NAME), verify.CHECKS)


def test_what_another_bundle_needs_of_a_hostile_one_stays(store: Path) -> None:
    """A captured bundle enters as it is, and the same one that comes from elsewhere is refused, without a loss."""
    source = Far(HOSTILE)
    copy.copy(source, SPOOL.open(LocalReference("captured", "1")), RecordingProgress())
    before = files(store)
    with pytest.raises(IntegrityError, match="holds 2 files"):
        take_in(source)
    assert files(store) == before


def test_a_layer_is_refused_while_the_next_one_is_on_its_way(store: Path) -> None:
    source = Far(HOSTILE)
    slow: list[Slow] = []
    source.instead[source.bundle.manifest.layers[1]] = lambda content: slow.append(Slow(content)) or slow[-1]
    progress = RecordingProgress()
    with pytest.raises(IntegrityError, match="holds 2 files"):
        take_in(source, progress)
    assert slow[0].count < source.bundle.manifest.layers[1].size
    assert len(slow) == 1
    assert progress.notes == []
    assert files(store) == set()


def assert_ended(before: set[threading.Thread]) -> None:
    """Every thread that was started since then ends soon; others are another test's business."""
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive(), thread


def test_a_copy_that_fails_ends_the_verification_and_what_came_is_used_by_the_next_one(store: Path) -> None:
    source = Far(SOUND)
    source.parallel = 1  # so that the first one has come when the second one fails
    first, second = source.bundle.manifest.layers
    source.instead = {second: failing(StoreError("the link is down"))}
    threads = set(threading.enumerate())
    with pytest.raises(StoreError, match="the link is down"):
        take_in(source)
    assert_ended(threads)
    assert f"blobs/sha256/{first.digest.hex}" in files(store)
    source.instead = {first: failing(StoreError("it was here"))}
    assert take_in(source).resolve().digest == source.bundle.digest


def test_an_interrupt_ends_both() -> None:
    source = Far(SOUND)
    source.parallel = 1
    source.instead = {source.bundle.manifest.layers[1]: failing(KeyboardInterrupt())}
    threads = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        take_in(source)
    assert_ended(threads)
    assert SPOOL.open(NAME).names() == []


def test_an_interrupt_while_the_last_layer_is_verified_leaves_no_name() -> None:
    class Interrupting(RecordingProgress):
        def stage(self, text: str, total: int | None = None) -> None:
            if text == "verifying the copied layers":
                raise KeyboardInterrupt
            super().stage(text, total)

    with pytest.raises(KeyboardInterrupt):
        take_in(Far(SOUND), Interrupting())
    assert SPOOL.open(NAME).names() == []


def test_all_is_told_of_what_is_verified_after_the_last_byte_came() -> None:
    """Nothing is verified before its layer is there, and then the user sees how far that is."""
    source = Far([SOUND[1]])
    progress = RecordingProgress()
    take_in(source, progress)
    assert progress.stages == ["copying to model:1", "verifying the copied layers"]


def test_layers_are_verified_in_the_order_of_the_manifest_however_they_arrive() -> None:
    source = Far(SOUND)
    with verify.LayerQueue(source.bundle, source, source, RecordingProgress()) as layers:
        for blob in reversed(source.bundle.manifest.layers):
            layers.arrived(blob)
        assert layers.findings == verify.Findings(privileged=[])
    assert layers.failure is None


def test_a_bundle_is_verified_once() -> None:
    source = Far(SOUND)
    local = take_in(source)
    assert "verifying the bundle" not in stages(source.bundle, local)
    again = RecordingProgress()
    take_in(source, again, LocalReference("model", "2"))
    assert "verifying the copied layers" not in again.stages


def test_what_was_captured_here_is_verified_when_it_is_applied_first() -> None:
    source = Far(SOUND)
    local = SPOOL.open(NAME)
    copy.copy(source, local, RecordingProgress())
    assert "verifying the bundle" in stages(source.bundle, local)
    assert "verifying the bundle" not in stages(source.bundle, local)


def test_what_others_could_change_is_verified_every_time() -> None:
    source = Far(SOUND)
    take_in(source)
    source.rereadable = True
    assert "verifying the bundle" in stages(source.bundle, source)


def test_a_bundle_with_privileged_files_is_always_read() -> None:
    source = Far([[TOP, file("/s/f", mode=0o4755)]], truth={"privileged": ("/s/f",)})
    local = take_in(source)
    assert "verifying the bundle" in stages(source.bundle, local)


def test_a_verified_bundle_that_is_damaged_later_makes_no_image(store: Path) -> None:
    source = Far(SOUND)
    local = take_in(source)
    blob = store / "blobs" / "sha256" / source.bundle.manifest.layers[1].digest.hex
    blob.write_bytes(bytes(len(blob.read_bytes())))
    engine = FakeEngine()
    before = list(engine.held)
    with pytest.raises(IntegrityError, match=str(source.bundle.manifest.layers[1].digest)):
        applied.apply(source.bundle, local, image(), "new:1", engine, SPOOL, RecordingProgress(), dry_run=False)
    assert engine.held == before


@pytest.mark.parametrize("spoil", ["checks", "content", "rights", "directory", "link", "missing"])
def test_a_record_counts_only_as_it_was_written_and_for_the_same_checks(spoil: str, tmp_path: Path) -> None:
    source = Far(SOUND)
    local = take_in(source)
    (record,) = recorded()
    if spoil == "content":
        record.write_bytes(b"")
    elif spoil == "rights":
        record.chmod(0o620)
    elif spoil == "directory":
        record.parent.chmod(0o777)
    elif spoil == "link":
        record.rename(tmp_path / "elsewhere")
        record.symlink_to(tmp_path / "elsewhere")
    elif spoil == "missing":
        record.unlink()
    checks = verify.CHECKS + (spoil == "checks")
    assert not SPOOL.is_verified(source.bundle.digest, local, checks)


def recorded() -> list[Path]:
    return list((state_directory.directory() / "verified").iterdir())


def test_records_are_private_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified_cache, "KEPT", 2)
    local = SPOOL.open(NAME)
    store = MemoryStore()
    digests = [bundle(store, tree(file("/s/f", data)), name=data.decode()).digest for data in (b"1", b"2", b"3")]
    for number, digest in enumerate(digests):
        SPOOL.note_verified(digest, verify.CHECKS)
        (newest,) = (path for path in recorded() if path.name == digest.hex)
        os.utime(newest, (number, number))
    assert [SPOOL.is_verified(digest, local, verify.CHECKS) for digest in digests] == [False, True, True]
    assert {path.stat().st_mode & 0o777 for path in recorded()} == {0o600}


def test_a_record_that_cannot_be_written_stops_nobody() -> None:
    source = Far(SOUND)
    state_directory.directory().parent.mkdir(parents=True, exist_ok=True)
    state_directory.directory().write_bytes(b"no directory")
    local = take_in(source)
    assert not SPOOL.is_verified(source.bundle.digest, local, verify.CHECKS)


def test_what_is_fetched_only_for_a_block_is_verified_as_well(store: Path) -> None:
    source = Far(HOSTILE)
    with (
        pytest.raises(IntegrityError, match="holds 2 files"),
        verify.readable_bundle(source.bundle, source, SPOOL, RecordingProgress()),
    ):
        pytest.fail("a hostile bundle is at hand")
    assert files(store) == set()


def test_a_blob_of_the_last_attempt_that_is_hostile_goes_too(store: Path) -> None:
    source = Far(HOSTILE)
    local = SPOOL.open(NAME)
    with local.upload("1") as upload:
        first = source.bundle.manifest.layers[0]
        opened: Opener = lambda begun=None: source.open(first, begun)  # noqa: E731
        upload.put(first, opened)
    assert files(store) != set()
    with pytest.raises(IntegrityError, match="holds 2 files"):
        take_in(source)
    assert files(store) == set()
