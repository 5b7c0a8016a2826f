"""Disks that are full, broken, read-only or gone: a clean error, nothing under the name, and the next run makes it good."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import preloaded
import pytest
import tally
from bundles import noise, verified
from disks import breaking_disk, mounted, run, small_disk, uncached
from fakes import MemoryStore, RecordingProgress
from places import files_below

from bundler.bundle import read_bundle
from bundler.errors import BundlerError, NoSpaceError, StoreError
from bundler.format.content import Descriptor
from bundler.format.reference import LocalReference
from bundler.ports import Store
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout.local import LocalStore
from bundler.stores.layout.store import LayoutStore
from bundler.streams import Begun, Stream
from bundler.verbs import copy

MIB = 1 << 20
Open = Callable[[Path], Store]
Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["layout", "archive", "local"])
def open_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a store of one kind in a directory."""

    def local(directory: Path) -> Store:
        monkeypatch.setenv("FPS_BUNDLE_STORE", str(directory / "store"))
        return LocalStore(LocalReference("model", "1"))

    return {
        "layout": lambda directory: LayoutStore(directory / "layout", "1"),
        "archive": lambda directory: ArchiveStore(directory / "bundle.tar", "1"),
        "local": local,
    }[request.param]


@pytest.fixture(scope="module")
def large() -> MemoryStore:
    """A bundle of 3 MiB."""
    return noise(3 * MIB)


def run_copy(source: Store, target: Store) -> None:
    copy.copy(source, target, RecordingProgress())


def is_sound(store: Store, source: MemoryStore) -> bool:
    return verified(store) == source.tags["1"].digest


def holds_nothing(open_store: Callable[[], Store], directory: Path) -> bool:
    """Whether there is no bundle, and nothing half written."""
    with pytest.raises(BundlerError):
        read_bundle(open_store())
    return not [path for path in files_below(directory) if ".fps-bundle-part-" in path.name]


def test_a_full_disk_takes_nothing_and_room_makes_it_good(open_in: Open, large: MemoryStore, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", MIB) as disk:
        with pytest.raises(NoSpaceError) as caught:
            run_copy(large, open_in(disk))
        assert caught.value.exit_code == 11
        assert str(disk) in caught.value.message
        assert holds_nothing(lambda: open_in(disk), disk)
        run("mount", "-o", f"remount,size={8 * MIB}", str(disk))
        run_copy(large, open_in(disk))
        assert is_sound(open_in(disk), large)


def test_a_disk_that_is_full_at_any_page(open_in: Open, tmp_path: Path) -> None:
    source, page, outcomes = noise(20_000), os.sysconf("SC_PAGE_SIZE"), set()
    with small_disk(tmp_path / "disk", page) as disk:
        for pages in range(1, 24):
            run("mount", "-o", f"remount,size={pages * page}", str(disk))
            outcome = _fill(source, lambda: open_in(disk), disk)
            tally.count("disks full at some page", outcome)
            outcomes.add(outcome)
    assert outcomes == {"clean errors", "exact"}


def _fill(source: MemoryStore, open_store: Callable[[], Store], disk: Path) -> str:
    try:
        run_copy(source, open_store())
    except NoSpaceError:
        assert not [path for path in files_below(disk) if ".fps-bundle-part-" in path.name]
        return "clean errors"
    assert is_sound(open_store(), source)
    for path in files_below(disk):
        path.unlink()
    return "exact"


def test_an_old_bundle_outlives_the_one_that_finds_no_room(tmp_path: Path, open_in: Open, large: MemoryStore) -> None:
    old = noise(1000)
    with small_disk(tmp_path / "disk", MIB) as disk:
        run_copy(old, open_in(disk))
        with pytest.raises(NoSpaceError):
            run_copy(large, open_in(disk))
        assert is_sound(open_in(disk), old)


@pytest.mark.parametrize("kept", [6 * MIB, 2 * MIB, MIB // 2])
def test_a_medium_that_cannot_be_read_to_its_end(open_in: Open, large: MemoryStore, tmp_path: Path, kept: int) -> None:
    target = LayoutStore(tmp_path / "target", "1")
    with breaking_disk(tmp_path / "disk", 16 * MIB, tmp_path / "medium") as disk:
        (disk / "filler").write_bytes(bytes(4 * MIB))  # so that the bundle lies where the medium will end
        run_copy(large, open_in(disk))
        uncached(disk)
        os.truncate(tmp_path / "medium", kept)
        with pytest.raises(StoreError) as caught:
            run_copy(open_in(disk), target)
        assert caught.value.exit_code == 5
        assert "Input/output error" in caught.value.message
    assert holds_nothing(lambda: target, tmp_path / "target")
    run_copy(large, target)
    assert is_sound(target, large)


def test_a_medium_that_has_less_room_than_it_says(open_in: Open, large: MemoryStore, tmp_path: Path) -> None:
    """What was written is lost only when it goes to the medium, as on sticks that lie about their size."""
    with (
        small_disk(tmp_path / "real", 2 * MIB) as real,
        breaking_disk(tmp_path / "disk", 16 * MIB, real / "medium") as disk,
    ):
        with pytest.raises((StoreError, NoSpaceError)):
            run_copy(large, open_in(disk))
        assert holds_nothing(lambda: open_in(disk), disk)


def test_a_medium_that_cannot_be_written(open_in: Open, large: MemoryStore, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "ro", "tmpfs") as disk:
        with pytest.raises(StoreError, match="Read-only file system") as caught:
            run_copy(large, open_in(disk))
        assert caught.value.exit_code == 5
        assert str(disk) in caught.value.message


@pytest.mark.parametrize("kind", ["layout", "archive"])
def test_a_bundle_is_read_from_a_medium_that_cannot_be_written(kind: str, large: MemoryStore, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8 * MIB) as disk:
        store = LayoutStore(disk / "x", "1") if kind == "layout" else ArchiveStore(disk / "x.tar", "1")
        run_copy(large, store)
        run("mount", "-o", "remount,ro", str(disk))
        assert is_sound(store, large)


class Removing(MemoryStore):
    """A source that takes the target's directory away as soon as its first blob is read."""

    def __init__(self, shared: MemoryStore, directory: Path) -> None:
        super().__init__("1", None, shared)
        self._directory = directory

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        if blob.digest != self.tags["1"].digest and self._directory.exists() and blob.size > MIB:
            shutil.rmtree(self._directory)
        return super().open(blob, begun)


def test_a_directory_that_is_removed_underneath(open_in: Open, large: MemoryStore, tmp_path: Path) -> None:
    directory = tmp_path / "target"
    directory.mkdir()
    with pytest.raises(StoreError) as caught:
        run_copy(Removing(large, directory), open_in(directory))
    assert caught.value.exit_code == 5
    assert str(directory) in caught.value.message
    assert files_below(directory) == []
    directory.mkdir(exist_ok=True)
    run_copy(large, open_in(directory))
    assert is_sound(open_in(directory), large)


@pytest.fixture
def program(tmp_path: Path, large: MemoryStore) -> Program:
    """The program, with the size of the largest file that it may write; the bundle is in ``source.tar``."""
    run_copy(large, ArchiveStore(tmp_path / "source.tar"))

    def run_it(largest: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "FPS_BUNDLE_STORE": str(tmp_path / "store")}
        limits = {resource.RLIMIT_FSIZE: largest}
        return preloaded.completed(*arguments, directory=tmp_path, environment=environment, text=True, limits=limits)

    return run_it


@pytest.mark.parametrize("target", ["oci:there:1", "there.tar", "model:1"])
def test_a_file_that_may_not_grow_so_large_names_the_way_out(program: Program, target: str, tmp_path: Path) -> None:
    """As FAT32 refuses a file of 4 GiB."""
    outcome = program(MIB, "copy", "source.tar", target)
    assert outcome.returncode == 5, outcome.stderr
    assert "File too large" in outcome.stderr
    assert "--split fat32" in outcome.stderr
    assert outcome.stdout == ""
    assert not (tmp_path / "there.tar").exists()
    assert not [path for path in files_below(tmp_path) if ".fps-bundle-part-" in path.name]
    assert program(resource.RLIM_INFINITY, "copy", "source.tar", target).returncode == 0
