"""Directories by descriptors: deep trees, links on the way, and directories that move meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.localfs import walk
from bundler.localfs.walk import Walk

DEEP = 1200
"""Deeper than Python's stack, and than the usual number of open files."""


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    walk.remove(b"d", descriptor)  # pytest cannot remove so deep a tree
    os.close(descriptor)


def identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def test_deep_trees_are_entered_left_and_removed(top: int, tmp_path: Path) -> None:
    opened = len(list(Path("/proc/self/fd").iterdir()))
    with Walk(top, create=True) as down:
        found = [identity(down.enter((b"d",) * depth)) for depth in range(DEEP)]
        assert len(list(Path("/proc/self/fd").iterdir())) < opened + 200
        again = [identity(down.enter((b"d",) * depth)) for depth in reversed(range(DEEP))]
        assert again == found[::-1]
        assert identity(down.enter((b"d",) * 500)) == found[500]
        down.enter((*(b"d",) * 500, b"e"))
    assert len(list(Path("/proc/self/fd").iterdir())) == opened
    walk.remove(b"d", top)
    assert not list(tmp_path.iterdir())


def test_a_directory_that_was_moved_is_not_left_upwards(top: int, tmp_path: Path) -> None:
    with Walk(top, create=True) as down:
        names = (b"d",) * 150
        expected = identity(down.enter(names[:120]))
        down.enter(names)
        os.rename("/".join(["d"] * 121), "moved", src_dir_fd=top, dst_dir_fd=top)
        assert identity(down.enter(names[:120])) == expected
    assert (tmp_path / "moved").is_dir()
    walk.remove(b"moved", top)


@pytest.mark.parametrize("create", [True, False])
def test_links_are_not_followed(create: bool, top: int, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/link").symlink_to(tmp_path)
    with Walk(top, create=create) as down, pytest.raises(NotADirectoryError):
        down.enter((b"d", b"link", b"x"))
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_what_is_removed_is_never_behind_a_link(top: int, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/f").touch()
    (tmp_path / "d/closed").mkdir(parents=True)
    (tmp_path / "d/closed/f").touch()
    (tmp_path / "d/closed").chmod(0)
    (tmp_path / "d/link").symlink_to("../kept")
    walk.remove(b"d", top)
    (tmp_path / "d").symlink_to("kept")
    walk.remove(b"d", top)
    walk.remove(b"d", top)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["kept", "kept/f"]
