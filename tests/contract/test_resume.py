"""A blob goes on where it broke off in the run before; what is there does not travel; what a link may be used for."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import faults
import pytest
from bundles import noise, verified
from disks import small_disk
from fakes import MemoryStore, RecordingProgress
from faultproxy import FaultProxy, fault_proxy
from links import standing, store
from tokenregistry import TokenRegistry, token_registry

from bundler.bundle import read_bundle
from bundler.errors import BundlerError, StoreError
from bundler.format.reference import RegistryReference
from bundler.stores.archive.split_artifact import SplitTarget
from bundler.stores.archive.split_files import Split, SplitFileStore
from bundler.stores.layout.store import LayoutStore
from bundler.stores.registry import upload_record
from bundler.stores.registry.limits import Limits
from bundler.stores.registry.store import RegistryStore
from bundler.verbs import copy
from bundler.verbs.early_upload import Sender

MIB = 1 << 20
SIZE = 8 * MIB


@pytest.fixture(scope="module")
def source() -> MemoryStore:
    return noise(SIZE)


@pytest.fixture
def proxy(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    with fault_proxy(registry) as proxy:
        yield proxy


def run_copy(source: MemoryStore | RegistryStore, target: LayoutStore | RegistryStore) -> RecordingProgress:
    progress = RecordingProgress()
    copy.copy(source, target, progress)
    return progress


def kept(layout: Path) -> list[Path]:
    return list(layout.rglob(".fps-bundle-kept-*"))


def test_a_pull_goes_on_in_the_next_run(proxy: FaultProxy, registry: str, source: MemoryStore, tmp_path: Path) -> None:
    run_copy(source, store(registry, "resume/later"))
    break_a_pull(proxy, "resume/later", tmp_path / "layout")
    proxy.forget()
    run_copy(store(proxy.address, "resume/later"), LayoutStore(tmp_path / "layout", "1"))
    assert verified(LayoutStore(tmp_path / "layout", "1")) == source.tags["1"].digest
    assert proxy.traffic.down < SIZE - 4 * MIB
    assert kept(tmp_path / "layout") == []


def test_a_pull_goes_on_where_the_registry_gives_other_ranges_than_it_is_asked_for(
    proxy: FaultProxy, registry: str, source: MemoryStore, tmp_path: Path
) -> None:
    run_copy(source, store(registry, "resume/ranges"))
    break_a_pull(proxy, "resume/ranges", tmp_path / "layout")
    proxy.forget()
    proxy.fail(faults.other_range(), part="/blobs/", times=1_000)
    progress = run_copy(store(proxy.address, "resume/ranges"), LayoutStore(tmp_path / "layout", "1"))
    assert verified(LayoutStore(tmp_path / "layout", "1")) == source.tags["1"].digest
    assert progress.notes == []  # it was read from the beginning, and taken from where it broke off


@pytest.mark.parametrize("damage", [b"?", b"?" * (SIZE + MIB)], ids=["flipped", "longer than the blob"])
def test_a_begun_pull_that_was_damaged_is_fetched_from_zero(
    proxy: FaultProxy, registry: str, source: MemoryStore, tmp_path: Path, damage: bytes
) -> None:
    run_copy(source, store(registry, "resume/damaged"))
    break_a_pull(proxy, "resume/damaged", tmp_path / "layout")
    proxy.forget()
    (part,) = kept(tmp_path / "layout")
    with part.open("r+b") as file:
        file.write(damage)
    run_copy(store(proxy.address, "resume/damaged"), LayoutStore(tmp_path / "layout", "1"))
    assert verified(LayoutStore(tmp_path / "layout", "1")) == source.tags["1"].digest
    assert kept(tmp_path / "layout") == []


def break_a_pull(proxy: FaultProxy, repository: str, layout: Path) -> None:
    """Let a pull come some 5 MiB far, after its config, and no further."""
    proxy.fail(faults.reset_within_reply(after=5 * MIB), part="/blobs/", skip=1)
    proxy.fail(faults.reset(), part="/blobs/", skip=1, times=1_000)
    with pytest.raises(StoreError) as caught:
        run_copy(store(proxy.address, repository), LayoutStore(layout, "1"))
    assert caught.value.exit_code == 5
    assert len(kept(layout)) == 1
    assert LayoutStore(layout, "1").names() == []


def test_a_push_goes_on_in_the_next_run(proxy: FaultProxy, registry: str, source: MemoryStore) -> None:
    break_a_push(proxy, source, "resume/resumed")
    proxy.forget()
    run_copy(source, store(proxy.address, "resume/resumed"))
    assert standing(registry, "resume/resumed") == str(source.tags["1"].digest)
    assert proxy.traffic.up < SIZE - 2 * MIB


def test_a_push_goes_on_although_the_registry_is_busy_at_first(proxy: FaultProxy, registry: str, source: MemoryStore) -> None:
    break_a_push(proxy, source, "resume/busy")
    proxy.forget()
    proxy.fail(faults.answer(503), method="GET", part="/blobs/uploads/")
    run_copy(source, store(proxy.address, "resume/busy"))
    assert standing(registry, "resume/busy") == str(source.tags["1"].digest)
    assert proxy.traffic.up < SIZE - 2 * MIB


def test_a_push_whose_session_the_registry_forgot_begins_anew(proxy: FaultProxy, registry: str, source: MemoryStore) -> None:
    break_a_push(proxy, source, "resume/forgotten")
    proxy.forget()
    proxy.fail(faults.answer(404), method="GET", part="/blobs/uploads/")
    run_copy(source, store(proxy.address, "resume/forgotten"))
    assert standing(registry, "resume/forgotten") == str(source.tags["1"].digest)


def break_a_push(proxy: FaultProxy, source: MemoryStore, repository: str) -> None:
    """Let three chunks of a push arrive, which are 4 MiB or more, and nothing after them."""
    proxy.fail(faults.answer(503), method="PATCH", skip=3, times=1_000)
    proxy.fail(faults.answer(503), method="PUT", part="/blobs/uploads/", times=1_000)  # what is left then may be one chunk
    with pytest.raises(StoreError) as caught:
        run_copy(source, store(proxy.address, repository))
    assert caught.value.exit_code == 5
    assert len(list(upload_record.directory().glob("*.json"))) == 1


def test_a_push_needs_no_room_on_the_disk_here(
    registry: str, source: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", MIB) as disk:
        (disk / "filler").write_bytes(bytes(MIB))
        monkeypatch.setenv("FPS_BUNDLE_STORE", str(disk / "store"))
        run_copy(source, store(registry, "resume/full"))
    assert standing(registry, "resume/full") == str(source.tags["1"].digest)


def test_a_link_that_breaks_in_every_chunk_is_told_with_the_way_out(proxy: FaultProxy, registry: str, source: MemoryStore) -> None:
    proxy.cut(MIB // 2, down=False)
    with pytest.raises(StoreError, match="3 times") as caught:
        run_copy(source, store(proxy.address, "resume/hopeless"))
    assert "--split" in caught.value.command
    assert standing(registry, "resume/hopeless") == ""


@pytest.fixture
def keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FaultProxy, TokenRegistry]]:
    """A registry that keeps an upload when a chunk of it breaks, as version 3 of distribution does, behind a proxy."""
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
    with token_registry() as registry, fault_proxy(registry.address) as proxy:
        registry.anonymous, registry.least_chunk = True, 1
        yield proxy, registry


def test_what_breaks_in_every_chunk_comes_in_smaller_pieces(keeping: tuple[FaultProxy, TokenRegistry], source: MemoryStore) -> None:
    proxy, registry = keeping
    proxy.cut(300 << 10, down=False)
    run_copy(source, store(proxy.address, "team/model"))
    assert registry.blobs.keys() == {str(digest) for digest in source.blobs} - {str(source.tags["1"].digest)}


def test_what_never_comes_any_further_is_told_with_the_way_out(
    keeping: tuple[FaultProxy, TokenRegistry], source: MemoryStore
) -> None:
    proxy, registry = keeping
    for method in ("PATCH", "PUT"):
        proxy.fail(faults.reset(), method=method, times=1_000)
    with pytest.raises(StoreError, match=r"no progress of sha256:[0-9a-f]+ after byte 0 in 8 attempts") as caught:
        run_copy(source, store(proxy.address, "team/model"))
    assert caught.value.command == "fps-bundle copy … --split 4MiB"
    assert re.search("reset|closed", caught.value.message)
    assert registry.manifests == {}


def test_a_resumed_push_says_what_it_sent(proxy: FaultProxy, source: MemoryStore) -> None:
    break_a_push(proxy, source, "resume/said")
    proxy.forget()
    result = copy.copy(source, store(proxy.address, "resume/said"), RecordingProgress())
    assert result.sent < SIZE - 2 * MIB
    assert result.sent + result.skipped >= SIZE
    assert abs(result.sent - proxy.traffic.up) < MIB // 4


def test_a_resumed_pull_says_what_it_fetched(proxy: FaultProxy, registry: str, source: MemoryStore, tmp_path: Path) -> None:
    run_copy(source, store(registry, "resume/fetched"))
    break_a_pull(proxy, "resume/fetched", tmp_path / "layout")
    proxy.forget()
    result = copy.copy(store(proxy.address, "resume/fetched"), LayoutStore(tmp_path / "layout", "1"), RecordingProgress())
    assert result.sent < SIZE - 4 * MIB
    assert abs(result.sent - proxy.traffic.down) < MIB // 4


def test_a_repeated_split_copy_says_that_it_sent_little(proxy: FaultProxy, source: MemoryStore) -> None:
    def split() -> copy.CopyResult:
        target = SplitTarget(store(proxy.address, "resume/split"), MIB, RecordingProgress())
        return copy.copy(source, target, RecordingProgress())

    assert split().sent >= SIZE
    assert split().sent < MIB // 4


def test_repeated_parts_say_that_nothing_was_written(source: MemoryStore, tmp_path: Path) -> None:
    def split() -> int:
        target = SplitFileStore(tmp_path / "x.tar", "1", None, Split(MIB), RecordingProgress())
        return copy.copy(source, target, RecordingProgress()).sent

    assert split() >= SIZE
    assert split() == 0


def test_a_blob_that_is_in_another_repository_is_mounted(proxy: FaultProxy, registry: str, source: MemoryStore) -> None:
    run_copy(source, store(proxy.address, "resume/first"))
    proxy.forget()
    run_copy(store(proxy.address, "resume/first"), store(proxy.address, "resume/second"))
    run_copy(source, store(proxy.address, "resume/third"))
    assert proxy.traffic.up + proxy.traffic.down < MIB
    for repository in ("resume/second", "resume/third"):
        assert standing(registry, repository) == str(source.tags["1"].digest)


def test_waits_are_told(proxy: FaultProxy, registry: str, source: MemoryStore, tmp_path: Path) -> None:
    run_copy(source, store(registry, "resume/told"))
    progress = RecordingProgress()
    proxy.fail(faults.busy(3), method="GET", part="/blobs/")
    reference = RegistryReference(proxy.address, "resume/told", "1")
    limits = Limits(patience=0.01)
    told = RegistryStore(reference, plain_http=True, limits=limits, tell=progress.note)
    copy.copy(told, LayoutStore(tmp_path / "layout", "1"), progress)
    assert "429" in progress.notes[0]
    assert "attempt 2 of" in progress.notes[0]


def test_no_more_than_the_granted_rate_is_used(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    slow, reference = noise(300_000), RegistryReference(registry, "resume/slow", "1")

    def limited() -> RegistryStore:
        return RegistryStore(reference, plain_http=True, limits=Limits(rate=200_000))

    started = time.monotonic()
    run_copy(slow, limited())
    pushed = time.monotonic()
    run_copy(limited(), LayoutStore(tmp_path / "layout", "1"))
    assert pushed - started > 1.2
    assert time.monotonic() - pushed > 1.2


@pytest.mark.parametrize("verify_written", [False, True])
def test_what_a_registry_stores_is_read_back_when_that_is_asked_for(proxy: FaultProxy, registry: str, verify_written: bool) -> None:
    small = noise(50_000, seed=2 + verify_written)
    proxy.fail(faults.flip(), method="GET", part="/blobs/", times=1_000)
    repository = f"resume/verified-{verify_written}".lower()
    reference = RegistryReference(proxy.address, repository, "1")
    target = RegistryStore(reference, plain_http=True, limits=Limits(patience=0.01), verify_written=verify_written)
    if not verify_written:
        run_copy(small, target)
        return
    with pytest.raises(BundlerError) as caught:
        run_copy(small, target)
    assert caught.value.exit_code == 8
    assert standing(registry, repository) == ""


def test_what_was_sent_early_is_read_back_too(proxy: FaultProxy, registry: str) -> None:
    source = noise(50_000, seed=4)
    bundle = read_bundle(source)
    reference = RegistryReference(proxy.address, "resume/early", "1")
    target = RegistryStore(reference, plain_http=True, limits=Limits(patience=0.01), verify_written=True)
    with target.upload("", source) as upload:
        early = Sender(source, upload, bundle.manifest.blobs)
        while not all(map(target.has, bundle.manifest.blobs)):
            time.sleep(0.01)
        proxy.fail(faults.flip(), method="GET", part="/blobs/", times=1_000)
        with pytest.raises(BundlerError) as caught:
            copy.copy(source, target, RecordingProgress(), bundle, early=early)
        early.close()
    assert caught.value.exit_code == 8
    assert standing(registry, "resume/early") == ""
