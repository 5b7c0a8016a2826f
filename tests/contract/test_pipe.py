"""Archives through pipes, by the program itself."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import preloaded
import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree
from hostile.forge import Forgery

from bundler.bundle import read_bundle
from bundler.errors import IntegrityError
from bundler.format.content import Digest
from bundler.format.reference import LocalReference
from bundler.stores.archive import pipe
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout import index
from bundler.stores.layout.local import LocalStore
from bundler.verbs import copy

LOCAL = LocalReference("model", "1")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def source() -> MemoryStore:
    source = MemoryStore()
    bundle(source, tree(file("/s/f", random.Random(1).randbytes(300_000))))
    return source


@pytest.fixture
def archive(tmp_path: Path, source: MemoryStore) -> bytes:
    copy.copy(source, ArchiveStore(tmp_path / "x.tar", "1"), RecordingProgress())
    return (tmp_path / "x.tar").read_bytes()


def run(*command: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return preloaded.completed(*command, given=given)


def blobs(store: Path) -> list[str]:
    return sorted(path.name for path in store.rglob("*") if path.is_file() and path.parent.name == "sha256")


def test_an_archive_is_the_same_in_a_pipe_as_in_a_file(tmp_path: Path, archive: bytes) -> None:
    done = run("copy", str(tmp_path / "x.tar"), "oci-archive:-:1")
    assert done.returncode == 0
    assert done.stdout == archive
    assert Digest.parse(done.stderr.decode().split()[-1])


def test_a_bundle_goes_from_store_to_store_through_a_pipe(tmp_path: Path, source: MemoryStore, archive: bytes) -> None:
    del archive
    copy.copy(source, LocalStore(LOCAL), RecordingProgress())
    environment = {**os.environ, "FPS_BUNDLE_STORE": str(tmp_path / "other")}
    with preloaded.Process(["copy", "model:1", "-", "-q"]) as sender:
        assert sender.stdout
        receiver = preloaded.completed("copy", "-", "moved:2", stdin=sender.stdout, environment=environment)
    assert (sender.returncode, receiver.returncode) == (0, 0)
    assert receiver.stdout.decode().strip() == str(source.tags["1"].digest)
    assert blobs(tmp_path / "other") == blobs(tmp_path / "store")


@pytest.mark.parametrize("command", [["inspect", "-"], ["history", "-"], ["list", "-"]])
def test_what_was_only_looked_at_does_not_stay(store: Path, source: MemoryStore, archive: bytes, command: list[str]) -> None:
    done = run(*command, given=archive)
    assert done.returncode == 0, done.stderr
    assert str(source.tags["1"].digest)[:20] in done.stdout.decode()
    assert blobs(store) == []


def test_what_was_here_before_stays(store: Path, source: MemoryStore, archive: bytes) -> None:
    copy.copy(source, LocalStore(LOCAL), RecordingProgress())
    before = blobs(store)
    assert run("inspect", "-", given=archive).returncode == 0
    assert blobs(store) == before


def test_a_hostile_bundle_does_not_come_in_through_a_pipe(store: Path, tmp_path: Path) -> None:
    """Also when it was there as it came: its blobs lie in the store before anybody can look at them."""
    archive = Path(Forgery(plain=lambda data: data + b"x").to_archive(tmp_path / "x.tar")).read_bytes()
    done = run("copy", "-", "model:1", given=archive)
    assert done.returncode == 8, done.stderr
    assert b"Traceback" not in done.stderr
    assert blobs(store) == []
    assert LocalStore(LOCAL).names() == []


def test_a_layout_of_another_version_does_not_come_in_through_a_pipe(store: Path, tmp_path: Path) -> None:
    files = {index.LAYOUT_FILE: b'{"imageLayoutVersion":"1.1.0"}'}
    archive = Path(Forgery(files=lambda found: found.update(files)).to_archive(tmp_path / "x.tar")).read_bytes()
    with pytest.raises(IntegrityError, match="the layout has the version"), pipe.received(io.BytesIO(archive)):
        pass
    assert blobs(store) == []


def tarred(directory: Path, *options: str) -> bytes:
    return subprocess.run(["tar", "-c", *options, "-C", str(directory), "."], capture_output=True, check=True).stdout


@pytest.mark.parametrize("form", ["gnu", "ustar", "pax"])
def test_an_archive_of_tar_is_read(tmp_path: Path, source: MemoryStore, archive: bytes, form: str) -> None:
    layout = tmp_path / "layout"
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        opened.extractall(layout, filter="data")
    with pipe.received(io.BytesIO(tarred(layout, f"--format={form}"))) as received:
        assert read_bundle(received).digest == source.tags["1"].digest


def cuts(length: int) -> Iterator[int]:
    yield from (0, 1, 511, 512, length // 4, length // 2, length * 3 // 4)


@pytest.mark.parametrize("part", range(7))
def test_what_breaks_off_is_refused_and_leaves_nothing(store: Path, archive: bytes, part: int) -> None:
    cut = list(cuts(len(archive)))[part]
    with pytest.raises(IntegrityError), pipe.received(io.BytesIO(archive[:cut])):
        pass
    assert blobs(store) == []


def test_every_member_border_where_it_breaks_off(store: Path, archive: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        borders = [member.offset for member in opened]
    for border in borders:
        with pytest.raises(IntegrityError), pipe.received(io.BytesIO(archive[:border])):
            pass
    assert blobs(store) == []


def test_a_damaged_blob_is_refused_with_the_right_code_and_leaves_nothing(store: Path, archive: bytes) -> None:
    middle = len(archive) // 2
    done = run("copy", "-", "model:1", given=archive[:middle] + bytes([archive[middle] ^ 1]) + archive[middle + 1 :])
    assert done.returncode == 8
    assert b"sha256:" in done.stderr
    assert blobs(store) == []


def other_archive(**members: bytes) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return written.getvalue()


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"index.json": b"{}"},
        {"index.json": b"x" * (5 << 20)},
        {f"blobs/sha256/{'a' * 64}": b"not what its name says"},
        {"blobs/sha256/../../index.json": b"x"},
        {f"blobs/sha256/{'a' * 63}/": b"x", f"blobs/sha512/{'a' * 128}": b"x"},
    ],
    ids=["empty", "no index", "huge index", "wrong digest", "dots", "strange names"],
)
def test_hostile_archives_are_refused_and_leave_nothing(store: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(IntegrityError), pipe.received(io.BytesIO(other_archive(**members))):
        pass
    assert blobs(store) == []


def test_nothing_comes_from_and_goes_to_a_terminal(archive: bytes, tmp_path: Path) -> None:
    del archive
    controller, terminal = os.openpty()
    for command in (["inspect", "-"], ["copy", str(tmp_path / "x.tar"), "-"]):
        done = preloaded.completed(*command, stdin=terminal, stdout=terminal)
        assert done.returncode == 2
        assert b"terminal" in done.stderr
    os.close(controller)
    os.close(terminal)


def test_a_reader_that_goes_away_is_an_error(tmp_path: Path, archive: bytes) -> None:
    del archive
    reading, writing = os.pipe()
    os.close(reading)
    done = preloaded.completed("copy", tmp_path / "x.tar", "-", stdout=writing)
    os.close(writing)
    assert done.returncode == 5
    assert b"standard output" in done.stderr


def test_push_writes_to_no_pipe() -> None:
    assert run("push", "detector", "-").returncode == 2
