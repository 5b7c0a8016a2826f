"""Matching a new file with an old one: always exact, and small where little changed."""

from __future__ import annotations

import io
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deltas import Bytes, Files
from hypothesis import given
from hypothesis import strategies as st

from bundler.delta import matcher
from bundler.delta.matcher import Matcher
from bundler.delta.tar_diff import Rebuilder, Writer

CHUNK = 4 << 20


def difference(old: bytes, new: bytes, chunk: int = CHUNK) -> int:
    """Match and rebuild; return the size of the stream."""
    stream = io.BytesIO()
    writer = Writer(stream, 3)
    writer.open("x")
    matching = Matcher(Bytes(old), writer)
    for begin in range(0, len(new), chunk):
        matching.add(new[begin : begin + chunk])
    writer.finish()
    with Rebuilder(io.BytesIO(stream.getvalue()), Files({"x": old}), len(new), 1000, "the delta") as rebuilt:
        assert rebuilt.read() == new
    return len(stream.getvalue())


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


def test_anchors_of_a_large_file_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matcher, "MAX_ANCHORS", 100)
    monkeypatch.setattr(matcher, "_DENSEST", 3)
    anchors = matcher._Anchors(Bytes(OLD))
    assert len(anchors._places) <= 200
    assert difference(OLD, OLD[100_000:] + OLD[:100_000]) < 10_000


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
