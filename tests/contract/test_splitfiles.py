"""Archives in parts: on media that hold no large file, with parts that get lost or damaged."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import subprocess
import time
from contextlib import nullcontext
from pathlib import Path

import preloaded
import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree

from bundler.bundle import read_bundle
from bundler.cli import console
from bundler.errors import BundlerError, BusyError, IntegrityError, NotFoundError, StoreError, UsageError
from bundler.format.content import Digest
from bundler.stores.archive.split_files import Split, SplitFileStore
from bundler.stores.archive.store import ArchiveStore
from bundler.verbs import copy

PART = 65536


@pytest.fixture
def source() -> MemoryStore:
    source = MemoryStore()
    bundle(source, tree(file("/s/f", random.Random(1).randbytes(400_000))))
    return source


def split(source: MemoryStore, path: Path, *only: int, size: int = PART) -> RecordingProgress:
    progress = RecordingProgress()
    copy.copy(source, SplitFileStore(path, "1", None, Split(size, frozenset(only)), progress), RecordingProgress())
    return progress


def read(path: Path, *parts_from: Path) -> Digest:
    store = ArchiveStore(path, parts_from=parts_from)
    found = read_bundle(store)
    copy.read_through(store, found, RecordingProgress())
    return found.digest


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def flip(path: Path, place: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.fixture
def parts(tmp_path: Path, source: MemoryStore) -> Path:
    """A split archive; gives the name that the whole would have."""
    directory = tmp_path / "stick"
    directory.mkdir()
    split(source, directory / "x.tar")
    return directory / "x.tar"


def test_the_parts_joined_are_the_archive(tmp_path: Path, source: MemoryStore, parts: Path) -> None:
    copy.copy(source, ArchiveStore(tmp_path / "whole.tar", "1"), RecordingProgress())
    joined = subprocess.run(f"cat {parts}.[0-9]*", shell=True, capture_output=True, check=True).stdout
    assert joined == (tmp_path / "whole.tar").read_bytes()
    names = sorted(content(parts.parent))
    assert names == [*(f"x.tar.{number:03}" for number in range(1, len(names))), "x.tar.parts"]
    assert len(names) > 6


def test_parts_are_read_where_they_lie(tmp_path: Path, source: MemoryStore, parts: Path) -> None:
    assert read(parts) == source.tags["1"].digest
    others = [tmp_path / "second", tmp_path / "third"]
    for number, directory in enumerate(others):
        directory.mkdir()
        for path in sorted(parts.parent.glob("x.tar.0*"))[number::3]:
            shutil.move(path, directory)
    assert read(parts, *others) == read(parts, *others[::-1]) == source.tags["1"].digest
    assert [named.name for named in ArchiveStore(parts, parts_from=others).names()] == ["1"]


def test_parts_of_any_size_are_read(tmp_path: Path, source: MemoryStore) -> None:
    for size in (PART + 1, PART + 511, 10_000_000):
        split(source, tmp_path / f"{size}.tar", size=size)
        assert read(tmp_path / f"{size}.tar") == source.tags["1"].digest


def test_all_that_is_missing_is_named_at_once(parts: Path) -> None:
    for number in (2, 5):
        (parts.parent / f"x.tar.{number:03}").unlink()
    with (parts.parent / "x.tar.003").open("ab") as grown:
        grown.write(b"x")
    with pytest.raises(NotFoundError, match=r"x.tar.002, x.tar.005 are missing.*x.tar.003 is of the wrong size") as caught:
        read(parts)
    assert "--parts-from" in caught.value.hint
    assert "--part 2 --part 3 --part 5" in caught.value.hint


def test_parts_of_the_wrong_size_are_damaged(parts: Path) -> None:
    os.truncate(parts.parent / "x.tar.004", 10)
    with pytest.raises(IntegrityError, match=r"x.tar.004 is of the wrong size"):
        read(parts)


def test_a_sound_part_elsewhere_stands_in_for_one_of_the_wrong_size(tmp_path: Path, source: MemoryStore, parts: Path) -> None:
    (tmp_path / "other").mkdir()
    shutil.copy(parts.parent / "x.tar.004", tmp_path / "other")
    os.truncate(parts.parent / "x.tar.004", 10)
    assert read(parts, tmp_path / "other") == source.tags["1"].digest


@pytest.mark.parametrize(
    ("numbers", "place"),
    [((1,), 1024), ((1,), 1600), ((3,), 0), ((2, 4), -1), ((1, 7), 1100)],
    ids=["in a header", "in a blob", "at its beginning", "two", "first and last"],
)
def test_all_that_is_damaged_is_named_and_made_anew_alone(
    source: MemoryStore, parts: Path, numbers: tuple[int, ...], place: int
) -> None:
    whole = content(parts.parent)
    for number in numbers:
        flip(parts.parent / f"x.tar.{number:03}", place)
    with pytest.raises(IntegrityError) as caught:
        read(parts)
    for number in range(1, 8):
        assert (f"x.tar.{number:03}" in caught.value.message) is (number in numbers)
        assert (f"--part {number}" in caught.value.hint) is (number in numbers)
    before = {path: path.stat().st_ino for path in parts.parent.iterdir()}
    split(source, parts, *numbers)
    assert content(parts.parent) == whole
    changed = {path.name for path, inode in before.items() if path.stat().st_ino != inode}
    assert changed == {f"x.tar.{number:03}" for number in numbers}


def test_the_same_command_makes_what_is_missing(source: MemoryStore, parts: Path) -> None:
    whole = content(parts.parent)
    for number in (1, 6):
        (parts.parent / f"x.tar.{number:03}").unlink()
    progress = split(source, parts)
    assert content(parts.parent) == whole
    assert "writing 2 parts" in progress.stages[-1]


def test_parts_can_be_made_one_stick_at_a_time(tmp_path: Path, source: MemoryStore, parts: Path) -> None:
    sticks = [tmp_path / str(number) for number in range(1, 8)]
    for number, stick in enumerate(sticks, 1):
        stick.mkdir()
        split(source, stick / "x.tar", number)
        assert sorted(content(stick)) == [f"x.tar.{number:03}", "x.tar.parts"]
    assert read(sticks[3] / "x.tar", *sticks) == read(parts)


def other(source: MemoryStore, directory: Path, name: str = "x.tar") -> Path:
    """The parts of another archive, of the same sizes."""
    directory.mkdir()
    bundle(source, tree(file("/s/f", random.Random(2).randbytes(400_000))))
    split(source, directory / name)
    return directory / name


@pytest.mark.parametrize("command", ["inspect", "verify", "list", "history"])
def test_a_list_of_the_parts_of_another_archive_is_refused(tmp_path: Path, source: MemoryStore, parts: Path, command: str) -> None:
    found = other(source, tmp_path / "other")
    shutil.copy(f"{found}.parts", f"{parts}.parts")
    with pytest.raises(IntegrityError, match=r"x\.tar\.parts lists the parts of another archive, of the bundle sha256:") as caught:
        read(parts)
    assert caught.value.hint
    done = run(command, str(parts))
    assert (done.returncode, "another archive" in done.stderr) == (8, True)


def test_a_list_that_was_renamed_is_refused_though_its_own_parts_are_there(source: MemoryStore, parts: Path) -> None:
    bundle(source, tree(file("/s/f", random.Random(2).randbytes(400_000))))
    split(source, parts.parent / "y.tar")
    shutil.copy(parts.parent / "y.tar.parts", f"{parts}.parts")
    with pytest.raises(IntegrityError, match=r"x\.tar\.parts lists the parts of y\.tar, not of x\.tar") as caught:
        read(parts)
    assert "y.tar" in caught.value.hint
    with pytest.raises(IntegrityError, match="lists the parts of y"):
        split(source, parts)


def test_parts_of_another_archive_beside_the_list_are_refused(tmp_path: Path, source: MemoryStore, parts: Path) -> None:
    found = other(source, tmp_path / "other")
    for path in found.parent.glob("x.tar.0*"):
        shutil.copy(path, parts.parent)
    with pytest.raises(IntegrityError, match="lists the parts of another archive"):
        read(parts)


def test_one_part_of_another_archive_is_named(tmp_path: Path, source: MemoryStore, parts: Path) -> None:
    """The last one, which has the index."""
    found = other(source, tmp_path / "other")
    last = max(path.name for path in found.parent.glob("x.tar.0*"))
    shutil.copy(found.parent / last, parts.parent)
    with pytest.raises(IntegrityError, match=f"the part {last} is damaged"):
        read(parts)


def test_a_list_in_other_letters_is_the_same_list(source: MemoryStore, parts: Path) -> None:
    Path(f"{parts}.parts").rename(parts.parent / "X.TAR.parts")
    assert read(parts.parent / "X.TAR") == source.tags["1"].digest


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_a_whole_file_beside_the_parts_of_another_archive_is_refused(
    tmp_path: Path, source: MemoryStore, parts: Path, command: str
) -> None:
    bundle(source, tree(file("/s/f", b"another")))
    copy.copy(source, ArchiveStore(tmp_path / "whole.tar", "1"), RecordingProgress())
    (tmp_path / "whole.tar").rename(parts)
    with pytest.raises(UsageError, match=r"x\.tar and the parts in x\.tar\.parts are different archives") as caught:
        read(parts)
    assert caught.value.hint
    assert run(command, str(parts)).returncode == 2


def test_a_whole_file_beside_its_own_parts_is_read_and_that_is_told(tmp_path: Path, source: MemoryStore, parts: Path) -> None:
    copy.copy(source, ArchiveStore(tmp_path / "whole.tar", "1"), RecordingProgress())
    (tmp_path / "whole.tar").rename(parts)
    for path in parts.parent.glob("x.tar.0*"):
        path.unlink()
    progress = RecordingProgress()
    assert read_bundle(ArchiveStore(parts, progress=progress)).digest == source.tags["1"].digest
    assert progress.notes == [f"reading {parts}, not the parts listed in x.tar.parts"]
    assert f"reading {parts}, not the parts" in run("inspect", str(parts)).stderr


@pytest.mark.parametrize("spoil", ["damaged", "renamed", "directory", "parts-from"])
def test_a_whole_file_is_read_beside_a_list_that_is_none_and_that_is_told(
    tmp_path: Path, source: MemoryStore, parts: Path, spoil: str
) -> None:
    copy.copy(source, ArchiveStore(tmp_path / "whole.tar", "1"), RecordingProgress())
    listed = tmp_path / "whole.tar.parts"
    if spoil == "damaged":
        listed.write_bytes(b"{}")
    elif spoil == "renamed":
        shutil.copy(f"{parts}.parts", listed)
    elif spoil == "directory":
        listed.mkdir()
    progress = RecordingProgress()
    parts_from = (parts.parent,) if spoil == "parts-from" else ()
    assert read_bundle(ArchiveStore(tmp_path / "whole.tar", parts_from=parts_from, progress=progress))
    (note,) = progress.notes
    assert f"reading {tmp_path / 'whole.tar'}: " in note


def test_a_whole_file_is_not_written_beside_parts(source: MemoryStore, parts: Path) -> None:
    before = content(parts.parent)
    with pytest.raises(StoreError, match=r"x\.tar\.parts exists: x\.tar would lie beside the parts of another archive") as caught:
        copy.copy(source, ArchiveStore(parts, "1"), RecordingProgress())
    assert caught.value.hint
    assert content(parts.parent) == before


@pytest.mark.parametrize("size", [PART, 2 * PART])
def test_a_list_of_other_parts_is_not_written_over(source: MemoryStore, parts: Path, size: int) -> None:
    whole = content(parts.parent)
    if size == PART:
        bundle(source, tree(file("/s/f", b"another")))
    with pytest.raises(StoreError, match="other parts") as caught:
        split(source, parts, size=size)
    assert (caught.value.exit_code, bool(caught.value.hint)) == (5, True)
    assert content(parts.parent) == whole


@pytest.mark.parametrize("name", ["x.tar", "x.tar.002"])
def test_what_stands_there_already_is_not_written_over(tmp_path: Path, source: MemoryStore, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(StoreError, match="exists"):
        split(source, tmp_path / "x.tar")
    assert content(tmp_path) == {name: b"mine"}


def test_a_part_that_there_is_not_is_refused(source: MemoryStore, parts: Path) -> None:
    with pytest.raises(UsageError, match="1 to 7"):
        split(source, parts, 8)


def test_a_damaged_source_leaves_nothing(tmp_path: Path, source: MemoryStore) -> None:
    layer = read_bundle(source).manifest.layers[0]
    source.blobs[layer.digest] = source.blobs[layer.digest][:-1] + b"?"
    with pytest.raises(IntegrityError):
        split(source, tmp_path / "x.tar")
    assert content(tmp_path) == {}


def test_two_at_once_in_one_directory_are_told(tmp_path: Path, source: MemoryStore) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(BusyError, match="another fps-bundle is using"):
        split(source, tmp_path / "x.tar")
    os.close(descriptor)
    split(source, tmp_path / "x.tar")


@pytest.mark.parametrize(
    "changes",
    [{"size": 1}, {"parts": []}, {"bundle": "x"}, {"schemaVersion": 9}, {"partSize": 1}],
    ids=lambda changes: str(changes),
)
def test_a_hostile_list_is_refused(parts: Path, changes: dict[str, object]) -> None:
    listed = parts.parent / "x.tar.parts"
    listed.write_text(json.dumps(json.loads(listed.read_text()) | changes))
    with pytest.raises(IntegrityError) as caught:
        read(parts)
    assert "x.tar.parts" in caught.value.message


def test_a_part_that_is_no_file_is_missing(parts: Path) -> None:
    (parts.parent / "x.tar.002").unlink()
    os.mkfifo(parts.parent / "x.tar.002")
    with pytest.raises(NotFoundError):
        read(parts)


def test_what_was_damaged_before_it_was_split_is_not_put_on_the_parts(tmp_path: Path, source: MemoryStore) -> None:
    copy.copy(source, ArchiveStore(tmp_path / "x.tar", "1"), RecordingProgress())
    flip(tmp_path / "x.tar", 3000)
    done = run("split", str(tmp_path / "x.tar"), "64KiB")
    assert done.returncode == 8
    assert set(content(tmp_path)) == {"x.tar"}


def test_a_medium_that_is_pulled_out_is_told(parts: Path) -> None:
    store = ArchiveStore(parts)
    assert store.names()
    parts.with_name("x.tar.007").unlink()
    with pytest.raises(IntegrityError, match=r"x\.tar\.007 is damaged"):
        store.names()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["x.tar", "x.tar.parts"])
def test_a_fifo_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(StoreError, match="not a plain file"):
        ArchiveStore(tmp_path / "x.tar").names()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(command, *preloaded.run(command, os.environ, Path.cwd(), timeout=300))


def test_an_archive_that_exists_is_split_into_the_same_parts(tmp_path: Path, source: MemoryStore, parts: Path) -> None:
    copy.copy(source, ArchiveStore(tmp_path / "x.tar", "1"), RecordingProgress())
    (tmp_path / "into").mkdir()
    done = run("split", str(tmp_path / "x.tar"), "64KiB", "--into", str(tmp_path / "into"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(source.tags["1"].digest)
    assert content(tmp_path / "into") == content(parts.parent)


def test_the_command_line_splits_and_reads(
    tmp_path: Path, source: MemoryStore, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    (tmp_path / "again").mkdir()
    again = tmp_path / "again" / "x.tar"
    assert run("copy", str(parts), "model:1").returncode == 0
    assert run("copy", f"model@{source.tags['1'].digest}", f"oci-archive:{again}:1", "--split", "64KiB").returncode == 0
    assert content(tmp_path / "again") == content(parts.parent)
    shutil.move(f"{again}.003", tmp_path)
    assert run("inspect", str(again)).returncode == 6
    assert str(source.tags["1"].digest) in run("list", str(again), "--parts-from", str(tmp_path)).stdout
    assert run("copy", str(again), "oci:x", "--split", "64KiB").returncode == 2
    assert run("copy", str(again), "x.tar", "--split", "1k").returncode == 2
    assert run("copy", str(again), "x.tar", "--part", "1").returncode == 2


def test_a_dry_run_does_not_guess_which_parts_are_there(tmp_path: Path, source: MemoryStore, parts: Path) -> None:
    copy.copy(source, ArchiveStore(tmp_path / "x.tar", "1"), RecordingProgress())
    command = ("copy", str(tmp_path / "x.tar"), f"oci-archive:{parts}:1", "--split", "64KiB", "--dry-run", "--limit-rate", "1k")
    told = run(*command)
    blobs = read_bundle(source).manifest.blobs
    assert told.stdout == "".join(f"{blob.digest}\t{console.size(blob.size)}\tin parts\n" for blob in blobs)
    assert "would send" not in told.stderr
    assert "known only after all has been read" in told.stderr
    assert "all parts take" in told.stderr
    content = json.loads(run(*command, "--json").stdout)
    assert [content[key] for key in ("send", "skip", "seconds", "missing")] == [None] * 4
    assert content["undecided"] == [{"digest": str(blob.digest), "size": blob.size} for blob in blobs]
    known = json.loads(run("copy", str(tmp_path / "x.tar"), str(tmp_path / "y.tar"), "--dry-run", "--json").stdout)
    assert (known["undecided"], known["missing"]) == ([], content["undecided"])


def test_killed_at_any_moment_it_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    source = MemoryStore()
    bundle(source, tree(file("/s/f", random.Random(1).randbytes(6_000_000))))
    copy.copy(source, ArchiveStore(tmp_path / "x.tar", "1"), RecordingProgress())
    assert run("copy", str(tmp_path / "x.tar"), "model:1").returncode == 0
    (tmp_path / "parts").mkdir()
    target = tmp_path / "parts" / "x.tar"
    command = ["copy", "model:1", f"oci-archive:{target}:1", "--split", "64KiB", "-q"]
    assert run(*command).returncode == 0
    whole = content(tmp_path / "parts")
    for some, moment in (("*", 0.05), ("*[13579]", 0.6), ("*", 0.5)):  # all, or half of the parts, are lost
        for path in target.parent.glob(some):
            path.unlink()
        process = preloaded.Process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(target.parent.glob("*"))) < moment * len(whole):
            time.sleep(0.001)
        process.kill()
        process.wait()
        found = {name: data for name, data in content(target.parent).items() if not name.startswith(".")}
        assert found.items() <= whole.items()
        with pytest.raises(BundlerError) if len(found) < len(whole) else nullcontext():
            read(target)
    assert run(*command).returncode == 0
    assert content(target.parent) == whole
