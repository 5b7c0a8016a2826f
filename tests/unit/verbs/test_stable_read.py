"""What a model that goes on working may change while it is read: nothing."""

from __future__ import annotations

import io
from collections.abc import Generator, Sequence
from dataclasses import replace

import pytest
from fakes import RecordingProgress, Tree, directory, file, link, tree

from bundler.errors import ModelError
from bundler.format.tar import Entry, Kind
from bundler.ports import PathInfo
from bundler.streams import Readable
from bundler.verbs import stable_read
from bundler.verbs.stable_read import StableReader

BEFORE = tree(directory("/s"), file("/s/a", b"1"), file("/s/b", b"2"), file("/s/tmp", b"3"))


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stable_read, "A_LATER_SECOND", 0)


class TwoTrees:
    """A reader that finds another tree at its second walk."""

    sees_all = False

    def __init__(self, first: Tree, second: Tree) -> None:
        self._trees = [first, second]

    def stat(self, path: str) -> PathInfo | None:
        raise NotImplementedError

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        del exports
        for entry, data in self._trees.pop(0).values():
            yield entry, io.BytesIO(data)


def read(second: Tree, *, read_content: bool = True) -> list[str]:
    reader = StableReader(TwoTrees(BEFORE, second), lambda path: path == "/s/tmp", lambda: None, RecordingProgress())
    found = []
    for entry, content in reader.entries(["/s"]):
        found.append(entry.path)
        if read_content:
            content.read()
    return found


def changed(**entries: tuple[Entry, bytes] | None) -> Tree:
    """The tree as it was, but for some files."""
    new = {**BEFORE, **{f"/s/{name}": entry for name, entry in entries.items()}}
    return {path: new[path] for path in sorted(new) if new[path]}  # type: ignore[misc]


def test_what_stays_the_same_is_given_once() -> None:
    assert read(BEFORE) == ["/s", "/s/a", "/s/b", "/s/tmp"]


def test_content_that_nobody_took_counts_too() -> None:
    assert read(BEFORE, read_content=False) == ["/s", "/s/a", "/s/b", "/s/tmp"]
    with pytest.raises(ModelError, match="/s/b changed"):
        read(changed(b=file("/s/b", b"x")), read_content=False)


@pytest.mark.parametrize(
    ("second", "named"),
    [
        (changed(a=file("/s/a", b"x")), "/s/a"),
        (changed(b=file("/s/b", b"22")), "/s/b"),
        (changed(b=None), "/s/b"),
        (changed(bb=file("/s/bb", b"new")), "/s/bb"),
        (changed(zz=file("/s/zz", b"at the end")), "/s/zz"),
        (changed(b=link("/s/b", Kind.SYMLINK, "/s/a")), "/s/b"),
        (changed(b=(replace(BEFORE["/s/b"][0], mtime=BEFORE["/s/b"][0].mtime + 1), b"2")), "/s/b"),
    ],
    ids=["content", "size", "gone", "new", "new at the end", "another kind", "rewritten alike"],
)
def test_any_change_is_refused_and_named(second: Tree, named: str) -> None:
    with pytest.raises(ModelError, match=f"{named} changed while it was read"):
        read(second)


def test_what_no_capture_takes_may_change() -> None:
    read(changed(tmp=file("/s/tmp", b"other")))
    read(changed(tmp=None))
