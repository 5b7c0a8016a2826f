"""The direct reader sees what is there, and nothing else: no link is followed, no other process is taken for the container's."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bundler.engines import direct_reader
from bundler.engines.direct_reader import DirectReader, Process
from bundler.errors import ModelError
from bundler.streams import Sparse

SECRET = "not of the state"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of a container, beside something that is not in it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text(SECRET)
    root = tmp_path / "root"
    (root / "s" / "deep").mkdir(parents=True)
    for name in ("file", "deep/inner", "zz"):
        (root / "s" / name).write_text("state")
        os.utime(root / "s" / name, (1, 1))  # so that a later change shows, however coarse the clock
    return root


def read(root: Path) -> dict[str, bytes]:
    reader = DirectReader(os.open(root, os.O_RDONLY | os.O_DIRECTORY))
    return {entry.path: content.read() for entry, content in reader.entries(["/s"])}


def on(monkeypatch: pytest.MonkeyPatch, call: str, name: bytes, act: Callable[[], None], *, after: bool = False) -> None:
    """Have something happen once, just before or after the reader makes a system call about a name."""
    original = getattr(os, call)
    waiting = [act]

    def acting(path: Any, *arguments: Any, **more: Any) -> Any:
        if path == name and waiting and not after:
            waiting.pop()()
        result = original(path, *arguments, **more)
        if path == name and waiting and after:
            waiting.pop()()
        return result

    monkeypatch.setattr(direct_reader.os, call, acting)


def test_a_tree_that_stands_still_is_read(root: Path) -> None:
    assert read(root) == {"/s": b"", "/s/deep": b"", "/s/deep/inner": b"state", "/s/file": b"state", "/s/zz": b"state"}


@pytest.mark.parametrize("name", ["file", "deep", "zz"])
@pytest.mark.parametrize("target", ["outside", "outside/file", "/etc", "nowhere"])
def test_what_becomes_a_link_between_two_looks_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str, target: str
) -> None:
    def swap() -> None:
        (root / "s" / name).rename(root / "aside")
        (root / "s" / name).symlink_to(root.parent / target)

    on(monkeypatch, "open", name.encode(), swap)
    with pytest.raises(ModelError, match=f"/s/{name} changed while it was read"):
        read(root)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as one that is too large to be read at once."""
    monkeypatch.setattr(direct_reader, "SMALL", -1)


def test_what_vanishes_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "open", b"inner", (root / "s" / "deep" / "inner").unlink)
    with pytest.raises(ModelError, match="/s/deep/inner changed while it was read"):
        read(root)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("call", ["stat", "open"])
def test_what_is_large_and_vanishes_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    act = (root / "s" / "deep" / "inner").unlink
    on(monkeypatch, "open", b"inner", lambda: on(monkeypatch, call, b"inner", act))
    with pytest.raises(ModelError, match="/s/deep/inner changed while it was read"):
        read(root)


def test_another_file_of_the_same_name_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "other").write_text("other")
    on(monkeypatch, "open", b"zz", lambda: (root / "other").rename(root / "s" / "zz"))
    with pytest.raises(ModelError, match="/s changed while it was read"):
        read(root)


@pytest.mark.parametrize("more", ["and more", "etats", ""])
def test_a_file_that_changes_while_it_is_read_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    changed = list[str]()

    def changing(descriptor: int) -> list[str]:
        if not changed and Path(f"/proc/self/fd/{descriptor}").readlink().name == "zz":
            changed.append(more)
            (root / "s" / "zz").write_text(more)
        return []

    monkeypatch.setattr(direct_reader.os, "listxattr", changing)
    with pytest.raises(ModelError, match="/s/zz changed while it was read"):
        read(root)


@pytest.mark.usefixtures("large")
def test_a_large_file_that_grows_while_it_is_open_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act = (root / "s" / "zz").write_text
    on(monkeypatch, "open", b"zz", lambda: on(monkeypatch, "open", b"zz", lambda: act("state and more"), after=True))
    with pytest.raises(ModelError, match="/s/zz changed while it was read"):
        read(root)


def test_a_link_in_place_of_a_parent_is_refused(root: Path) -> None:
    (root / "s").rename(root / "aside")
    (root / "s").symlink_to(root.parent / "outside")
    reader = DirectReader(os.open(root, os.O_RDONLY | os.O_DIRECTORY))
    with pytest.raises(ModelError, match="changed while it was read"):
        list(reader.entries(["/s/file"]))
    assert SECRET not in str(read(root))


@pytest.fixture
def marked() -> str:
    """What a container's ID would be for the process of this test: a part of its mount table."""
    return Path("/proc/self/mountinfo").read_text().split()[0]


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root reads the files of another process")


@needs_root
def test_the_same_process_before_and_after_is_taken(marked: str) -> None:
    assert DirectReader.of(marked, lambda: Process(os.getpid(), "now"), extended=False)


@needs_root
@pytest.mark.parametrize("second", [None, Process(os.getpid(), "later"), Process(1, "now")], ids=["gone", "restarted", "another"])
def test_a_process_that_is_another_one_afterwards_is_not(marked: str, second: Process | None) -> None:
    answers: Iterator[Process | None] = iter([Process(os.getpid(), "now"), second])
    assert DirectReader.of(marked, lambda: next(answers), extended=False) is None


def test_a_process_of_another_container_is_not() -> None:
    assert DirectReader.of("c" * 64, lambda: Process(os.getpid(), "now"), extended=False) is None


@pytest.mark.parametrize("process", [None, Process(0, ""), Process(2**22 + 1, "now")], ids=["stopped", "no number", "ended"])
def test_a_container_that_does_not_run_is_not(marked: str, process: Process | None) -> None:
    assert DirectReader.of(marked, lambda: process, extended=False) is None


def test_who_is_not_root_reads_by_the_engine(marked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_reader.os, "geteuid", lambda: 1000)
    assert DirectReader.of(marked, lambda: Process(os.getpid(), "now"), extended=False) is None


@needs_root
def test_a_process_in_a_user_namespace_is_not() -> None:
    with subprocess.Popen(["unshare", "--user", "--map-root-user", "sleep", "60"]) as child:
        while Path(f"/proc/{child.pid}/uid_map").read_text().split() == ["0", "0", "4294967295"]:
            assert child.poll() is None
        mark = Path(f"/proc/{child.pid}/mountinfo").read_text().split()[0]
        assert DirectReader.of(mark, lambda: Process(child.pid, "now"), extended=False) is None
        child.kill()


@pytest.mark.parametrize("extents", [[], [0], [5], [9], [0, 9], [3, 4, 7]], ids=str)
@pytest.mark.parametrize("knows_holes", [True, False])
def test_holes_are_skipped_and_all_else_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extents: list[int], knows_holes: bool
) -> None:
    (tmp_path / "s").mkdir()
    unit, size = 1 << 20, (10 << 20) + 5
    with (tmp_path / "s" / "sparse").open("wb") as sparse:
        sparse.truncate(size)
        for extent in extents:
            sparse.seek(extent * unit)
            sparse.write(b"x" * unit)
    if not knows_holes:
        original = os.lseek

        def lseek(descriptor: int, offset: int, whence: int) -> int:
            if whence == os.SEEK_DATA:
                raise OSError(errno.EINVAL, "no such whence")
            return original(descriptor, offset, whence)

        monkeypatch.setattr(direct_reader.os, "lseek", lseek)
    reader = DirectReader(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY))
    found, count = b"", 0
    for entry, content in reader.entries(["/s"]):
        while entry.size and len(found) < size:
            assert isinstance(content, Sparse)
            found += bytes(content.skip_hole(unit, size - len(found)))
            piece = content.read(min(unit, size - len(found)))
            found, count = found + piece, count + len(piece)
    assert found == (tmp_path / "s" / "sparse").read_bytes()
    assert count == (len(extents) * unit + 5 if knows_holes else size)


def test_a_tree_of_any_depth_is_read(root: Path) -> None:
    """Deeper than Python's limit of recursion would let generators within generators go."""
    deepest = root / "s" / "/".join(["d"] * 600)
    deepest.mkdir(parents=True)
    (deepest / "leaf").write_text("state")
    found = read(root)
    assert found["/s/" + "d/" * 600 + "leaf"] == b"state"
    assert len([path for path in found if path.endswith("/d")]) == 600
