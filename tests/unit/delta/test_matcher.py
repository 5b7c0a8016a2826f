"""Matching a new file with an old one: always exact, and small where little changed."""

from __future__ import annotations

import gc
import io
import random
import sqlite3
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deltas import Bytes, Files, operations
from hypothesis import given
from hypothesis import strategies as st

from bundler.delta import block_index, matcher
from bundler.delta.matcher import Matcher
from bundler.delta.tar_diff import Rebuilder, Writer

CHUNK = 4 << 20


def delta(old: bytes, new: bytes, chunk: int = CHUNK) -> bytes:
    """Match and rebuild; return the stream, which has no more operations than a reader accepts."""
    stream = io.BytesIO()
    writer = Writer(stream, 3)
    writer.open("x")
    matching = Matcher(Bytes(old), writer)
    for begin in range(0, len(new), chunk):
        matching.add(new[begin : begin + chunk])
    writer.finish()
    with Rebuilder(io.BytesIO(stream.getvalue()), Files({"x": old}), len(new), 1, "the delta") as rebuilt:
        assert rebuilt.read() == new
    return stream.getvalue()


def difference(old: bytes, new: bytes, chunk: int = CHUNK) -> int:
    """Match and rebuild; return the size of the stream."""
    return len(delta(old, new, chunk))


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def log(lines: int, seed: int = 1) -> bytes:
    chosen = random.Random(seed)
    return b"".join(b"%d detector frame %d score 0.%05d\n" % (1_764_000_000 + n, n, chosen.randrange(99_999)) for n in range(lines))


OLD = noise(200_000)
LOG = log(40_000)


@pytest.mark.parametrize(
    ("old", "new", "most"),
    [
        (OLD, OLD, 60),
        (OLD, OLD[:100_000] + b"changed" + OLD[100_007:], 80),
        (OLD, noise(4096, 2) + OLD[4096:], 4300),
        (OLD, OLD[100_000:] + OLD[:100_000], 100),
        (OLD, OLD[50_000:], 100),
        (OLD, OLD + noise(1000, 3), 1200),
        (LOG, b"a line in front\n" + LOG, 100),
        (LOG, LOG[:700_000] + b"a line in the middle\n" + LOG[700_000:], 150),
        (LOG, LOG[1_000_000:] + log(2000, 4), 40_000),
        (b"", OLD, len(OLD) + 100),
        (OLD, b"", 40),
        (bytes(1_000_000), bytes(2_000_000), 200),
        (b"ab" * 500_000, b"ab" * 400_000 + OLD, len(OLD) + 400),
    ],
    ids=[
        "nothing",
        "some bytes",
        "the beginning",
        "halves in another order",
        "the first part is gone",
        "appended",
        "a line in front",
        "a line in the middle",
        "rotated",
        "from nothing",
        "to nothing",
        "zeros",
        "a short period",
    ],
)
def test_what_changed_is_what_is_written(old: bytes, new: bytes, most: int) -> None:
    assert difference(old, new) < most


def test_numbers_that_changed_a_little_are_written_as_differences() -> None:
    weights = np.random.default_rng(1).standard_normal(500_000).astype(np.float16)
    changed = (weights + 1e-3 * np.random.default_rng(2).standard_normal(500_000)).astype(np.float16)
    assert difference(weights.tobytes(), changed.tobytes()) < 0.38 * weights.nbytes


def _database(path: Path, change: Callable[[sqlite3.Connection], object]) -> tuple[bytes, bytes]:
    chosen = random.Random(5)
    with sqlite3.connect(path) as connection:
        connection.execute("create table frames(id integer primary key, label text, content blob, score integer)")
        connection.execute("create index scores on frames(score)")
        rows = ((f"label {n}", chosen.randbytes(400), chosen.getrandbits(40)) for n in range(10_000))
        connection.executemany("insert into frames(label, content, score) values(?, ?, ?)", rows)
    connection.close()
    old = path.read_bytes()
    connection = sqlite3.connect(path)
    change(connection)
    connection.commit()
    connection.close()
    return old, path.read_bytes()


def _vacuum(connection: sqlite3.Connection) -> None:
    connection.execute("delete from frames where id % 1000 = 0")
    connection.commit()
    connection.execute("vacuum")


def test_a_row_of_a_database_is_small(tmp_path: Path) -> None:
    old, new = _database(tmp_path / "db", lambda it: it.execute("update frames set label = 'x' where id = 777"))
    assert difference(old, new) < 200


def test_a_vacuum_moves_rows_and_is_small(tmp_path: Path) -> None:
    old, new = _database(tmp_path / "db", _vacuum)
    assert difference(old, new) < len(new) / 25


def _replaced(content: bytes, place: int, by: bytes) -> bytes:
    return content[:place] + by + content[place + len(by) :]


def test_content_in_its_place_is_copied_around_differences() -> None:
    new = _replaced(_replaced(OLD, 1000, bytes(20)), 5000, bytes(40))
    expected = [("copy", 1000), ("add", 20), ("copy", 3980), ("add", 40), ("copy", 194_960)]
    assert operations(delta(OLD, new)) == expected


def test_a_new_content_between_is_data() -> None:
    new = _replaced(OLD, 1000, noise(300, 2))
    assert operations(delta(OLD, new)) == [("copy", 1000), ("data", 300), ("seek", 1300), ("copy", 198_700)]


def test_differences_that_are_too_many_are_one() -> None:
    places = np.arange(0, 200_000, 100)
    new = np.frombuffer(OLD, np.uint8).copy()
    new[places] += 1
    assert operations(delta(OLD, new.tobytes())) == [("add", int(places[-1]) + 1), ("copy", 99)]


@pytest.mark.parametrize("small", [0, 1 << 20])
def test_a_short_difference_is_searched_for_nearby(monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    monkeypatch.setattr(matcher, "_SMALL", small)
    new = _replaced(OLD, 50_000, OLD[50_002:51_000] + b"ab")
    expected = [("copy", 50_000), ("seek", 50_002), ("copy", 998), ("add", 2)]
    found = operations(delta(OLD, new))
    assert found[:3] == expected[:3]
    assert difference(OLD, new) < 80


@pytest.mark.parametrize(("small", "least", "most"), [(0, 1900, 4200), (1 << 20, 0, 100)])
def test_only_in_a_small_file_a_short_difference_is_searched_for_anywhere(
    monkeypatch: pytest.MonkeyPatch, small: int, least: int, most: int
) -> None:
    monkeypatch.setattr(matcher, "_SMALL", small)
    texts = b"".join(random.Random(number).randbytes(20).hex().encode() for number in range(5000))
    assert least <= difference(texts, _replaced(texts, 4096, texts[150_000:154_000])) <= most


def test_a_short_difference_that_hardly_compresses_needs_no_index_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Matcher, "_whole_index", lambda _: pytest.fail("pages of weights are replaced, and do not move"))
    assert 4000 <= difference(OLD, _replaced(OLD, 4096, OLD[150_000:154_000])) <= 4200


def test_a_long_difference_is_searched_for_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matcher, "_SMALL", 0)
    assert difference(OLD, _replaced(OLD, 10_000, OLD[100_000:170_000])) < 100


def test_a_block_that_moved_leaves_the_place_of_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matcher, "_BLOCK", 50_000)
    new = _replaced(OLD, 49_000, OLD[48_000:48_999] + b"x")
    assert operations(delta(OLD, new))[-2:] == [("seek", 50_000), ("copy", 150_000)]


def test_a_short_change_in_content_that_moved_is_added() -> None:
    moved = OLD[100_001:]
    new = _replaced(moved, 5000, bytes(10))
    assert operations(delta(OLD, new)) == [("seek", 100_001), ("copy", 5000), ("add", 10), ("copy", 94_989)]


def test_of_equal_blocks_the_longest_match_is_taken() -> None:
    old = bytes(100_000) + noise(1000) + bytes(2000) + noise(1000, 2) + bytes(64)
    assert len(operations(delta(old, noise(500, 3) + bytes(90_000)))) < 10


def test_content_is_found_by_few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_index, "MAX_BLOCKS", 100)
    assert difference(OLD, OLD[100_001:] + OLD[:100_001]) < 100


def test_content_is_found_behind_much_that_is_new() -> None:
    new = noise(3 << 20, 6) + OLD
    assert difference(OLD, new) < (3 << 20) + 1000


def test_short_matches_are_no_more_than_a_reader_accepts() -> None:
    chosen = random.Random(8)
    pieces = (OLD[place : place + 50] for place in (chosen.randrange(190_000) for _ in range(4000)))
    difference(OLD, b"".join(pieces))


def _edited(old: bytes, edits: list[tuple[str, int, int, int]]) -> bytes:
    for kind, place, size, seed in edits:
        at = place % (len(old) + 1)
        if kind == "insert":
            old = old[:at] + noise(size, seed) + old[at:]
        elif kind == "delete":
            old = old[:at] + old[at + size :]
        elif kind == "replace":
            old = old[:at] + noise(size, seed) + old[at + size :]
        else:
            old = old[:at] + old[seed : seed + size] + old[at:]
    return old


EDITS = st.tuples(
    st.sampled_from(["insert", "delete", "replace", "repeat"]),
    st.integers(0, 1 << 20),
    st.integers(0, 3000),
    st.integers(0, 50_000),
)


@given(
    st.sampled_from([OLD[:60_000], LOG[:60_000], bytes(60_000), b""]), st.lists(EDITS, max_size=8), st.sampled_from([1000, CHUNK])
)
def test_every_edit_is_rebuilt(old: bytes, edits: list[tuple[str, int, int, int]], chunk: int) -> None:
    difference(old, _edited(old, edits), chunk)


def test_what_a_matcher_has_read_is_free_at_once() -> None:
    matching = Matcher(Bytes(LOG), Writer(io.BytesIO(), 3))
    matching.add(b"begun later\n" + LOG[1000:])
    cache = weakref.ref(matching._old)
    gc.disable()
    try:
        del matching
        assert cache() is None
    finally:
        gc.enable()
