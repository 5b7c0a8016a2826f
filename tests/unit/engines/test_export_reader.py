"""The archive of a whole container: what is taken of it, and that never two archives of it are read at once."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from bundler.engines import export_reader
from bundler.engines.archive_reader import ArchiveReader
from bundler.engines.export_reader import ExportReader
from bundler.errors import ModelError
from bundler.format import tar
from bundler.format.tar import Entry, Kind
from bundler.ports import Reader
from bundler.streams import Readable

Given = tuple[Entry, bytes]


def entry(path: str, kind: Kind = Kind.DIRECTORY, content: bytes = b"", target: str = "", **more: int) -> Given:
    values = {"mode": 0o640, "uid": 1, "gid": 2, "mtime": 3} | more
    return Entry(path, kind, size=len(content), target=target, **values), content


def file(path: str, content: str) -> Given:
    return entry(path, Kind.FILE, content.encode())


def link(path: str, target: str) -> Given:
    return entry(path, Kind.HARD_LINK, target=target)


class Engine:
    """Gives one archive again and again, but not while one is open."""

    def __init__(self, given: Sequence[Given]) -> None:
        self.data = b"".join(tar.encode(it) + content + tar.padding(it.size) for it, content in given) + tar.TRAILER
        self._is_read = False
        self.archives = 0

    @contextmanager
    def open(self, path: str) -> Iterator[Readable]:
        del path
        assert not self._is_read, "the engine would not answer"
        self._is_read = True
        self.archives += 1
        try:
            yield io.BytesIO(self.data)
        finally:
            self._is_read = False

    def read(self, *exports: str) -> list[Given]:
        return read(ExportReader(lambda _: None, self.open, ()), exports)


def read(reader: Reader, exports: Sequence[str]) -> list[Given]:
    return [(it, b"".join(iter(partial(content.read, 3), b""))) for it, content in reader.entries(exports)]


def test_of_plain_exports_one_archive_is_read() -> None:
    given = [entry("/a"), file("/a/1", "one"), entry("/b"), file("/b/2", "two"), link("/b/3", "/b/2"), file("/bc", "no")]
    engine = Engine(given)
    assert engine.read("/b") == given[2:5]
    assert engine.archives == 1


def test_the_directories_above_an_export_come_with_it() -> None:
    given = [entry("/srv"), entry("/srv/deep"), file("/srv/deep/1", "one"), file("/srv/deep/2", "two")]
    assert Engine(given).read("/srv/deep/2") == [given[0], given[1], given[3]]


def test_a_file_whose_first_name_is_outside_is_read_under_its_first_name_inside() -> None:
    given = [file("/a", "shared"), entry("/s"), file("/s/1", "one"), link("/s/2", "/a"), link("/s/3", "/a"), file("/s/4", "four")]
    engine = Engine(given)
    expected = [given[1], given[2], file("/s/2", "shared"), link("/s/3", "/s/2"), given[5]]
    assert engine.read("/s") == expected
    assert engine.archives == 3


def test_a_file_of_two_exports_is_read_in_both() -> None:
    given = [
        entry("/a"),
        file("/a/1", "shared"),
        file("/a/2", "kept too"),
        entry("/b"),
        link("/b/1", "/a/1"),
        link("/b/2", "/a/2"),
        entry("/c"),
        link("/c/1", "/a/1"),
        link("/c/2", "/a/1"),
    ]
    assert Engine(given).read("/a", "/b", "/c") == [
        *given[:4],
        file("/b/1", "shared"),
        file("/b/2", "kept too"),
        given[6],
        file("/c/1", "shared"),
        link("/c/2", "/c/1"),
    ]


def test_many_links_that_lead_out_take_no_more_archives() -> None:
    outside = [file(f"/a{number:03}", f"content {number}") for number in range(100)]
    engine = Engine([*outside, entry("/s"), *(link(f"/s/{number:03}", f"/a{number:03}") for number in range(100))])
    assert [content for _, content in engine.read("/s")][1:] == [content for _, content in outside]
    assert engine.archives == 3


def test_a_link_to_what_is_not_there_is_an_archive_that_is_not_whole() -> None:
    with pytest.raises(ModelError, match="'/nowhere', the target of the link '/s/1', is missing"):
        Engine([entry("/s"), link("/s/1", "/nowhere")]).read("/s")


def test_a_name_of_a_fifo_elsewhere_is_a_fifo() -> None:
    given = [entry("/a", Kind.FIFO), entry("/s"), link("/s/1", "/a")]
    assert Engine(given).read("/s") == [given[1], entry("/s/1", Kind.FIFO)]


def test_two_archives_are_compared_entry_by_entry() -> None:
    before = [entry("/a"), file("/a/1", "one"), file("/a/2", "two"), file("/b", "b"), file("/c", "c")]
    now = [entry("/a", mtime=9), file("/a/1", "one"), entry("/b"), file("/b/new", "x"), file("/c", "c"), file("/d", "d")]
    found = export_reader.changes(*(((it, io.BytesIO()) for it, _ in given) for given in (before, now)))
    assert found == {"/a": "changed", "/a/2": "deleted", "/b": "changed", "/b/new": "added", "/d": "added"}


@pytest.mark.parametrize("exports", [["/s"], ["/s/1"], ["/s/2"]])
def test_an_archive_that_ends_anywhere_is_incomplete(exports: list[str]) -> None:
    given = [file("/a", "shared"), entry("/s"), file("/s/1", "one" * 300), link("/s/2", "/a")]
    for end in range(0, len(Engine(given).data) - len(tar.TRAILER) + 1, 97):
        engine = Engine(given)
        engine.data = engine.data[:end]
        with pytest.raises(ModelError, match="the engine's archive of the container is incomplete"):
            engine.read(*exports)


def test_an_archive_of_a_path_that_ends_anywhere_is_incomplete() -> None:
    given = [entry("/s"), file("/s/1", "one" * 300)]
    for end in range(0, len(Engine(given).data) - len(tar.TRAILER) + 1, 97):
        engine = Engine(given)
        engine.data = engine.data[:end]
        with pytest.raises(ModelError, match="the engine's archive of /s is incomplete"):
            read(ArchiveReader(lambda _: None, engine.open), ["/s"])


def test_an_original_that_passes_as_part_of_an_export_is_given_there_too() -> None:
    given = [entry("/a"), file("/a/1", "x" * 5000), entry("/b"), file("/b/0", "before"), link("/b/1", "/a/1")]
    found = Engine(given).read("/a", "/b")
    assert found[1] == given[1]
    assert found[4] == (replace(given[1][0], path="/b/1"), given[1][1])
