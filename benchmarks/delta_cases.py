"""Kinds of change: an old state and a new one for each, and what a delta of it may take."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import state

PAGE = 4096
APPENDED = 2_000_000
DATABASE = 170_000_000
LARGE_DATABASE = 2_000_000_000
SHARDS, SHARD, CHANGED_SHARDS = 40, 50_000_000, 3
BIG_FILES, BIG = 65, 64 << 20
DENSE = 512 << 20
STEP = 1e-3
"""Standard deviation of a dense update, in standard deviations of the weights."""

APPEND, ROTATION, INSERTION = "log append", "log rotation", "insertion in front of logs"
ROW, INSERTS, VACUUM = "SQLite, one row", "SQLite, 2,000 inserts", "SQLite, VACUUM after deleting 0.1 %"
UPDATE, ONE_PAGE = "dense float16 update of 1e-3", "one page of a large database"
BIG_FILE, FEW_SHARDS = "the 65th big file", "3 of 40 shards"


@dataclass(frozen=True)
class Kind:
    """A kind of change: writes the old state below a directory, then changes it.

    ``most`` is the most bytes that its delta may take, or with ``times_zstd`` how often those of ``zstd --patch-from``.
    """

    name: str
    write: Callable[[Path], None]
    change: Callable[[Path], None]
    most: float
    times_zstd: bool = False
    absent: str = ""


def kinds(part: float) -> Iterator[Kind]:
    """All kinds of change, at this part of the usual size."""
    logs = _logs(part)
    yield Kind(APPEND, logs, lambda path: _append(path, round(APPENDED * part)), 1.2e6 * part)
    yield Kind(ROTATION, logs, _rotate, 0.5e6 * part)
    yield Kind(INSERTION, logs, _insert_in_front, 0.5e6 * part)
    rows = round(DATABASE * part / 340)
    database = _database(rows)
    yield Kind(ROW, database, lambda path: _sql(path, "UPDATE scores SET score = 0.5 WHERE id = ?", [(rows // 2,)]), 2e3)
    yield Kind(INSERTS, database, lambda path: _insert(path, rows, 2000), 1.5, times_zstd=True)
    yield Kind(VACUUM, database, lambda path: _vacuum(path, rows), 2.0, times_zstd=True)
    dense = round(DENSE * part) & ~1
    yield Kind(UPDATE, lambda path: _write_values(path, _gaussian(dense)), _update, 0.38 * dense)
    yield Kind(ONE_PAGE, lambda path: _noise(path / "data.db", round(LARGE_DATABASE * part), 1), _change_a_page, 20e3)
    absent = "" if part >= 1 else "only at the full size"
    yield Kind(BIG_FILE, _big_files, lambda path: _replace_pages(path / f"{BIG_FILES:02}.bin", 1), 50e3, absent=absent)
    pages = CHANGED_SHARDS * round(SHARD * part / PAGE / 100)
    yield Kind(FEW_SHARDS, lambda path: _shards(path, part), _learn_shards, 1.05 * pages * PAGE + 20e3)


def _logs(part: float) -> Callable[[Path], None]:
    """Logs and many small files, as in the state of the other measurements, but no weights."""

    def write(path: Path) -> None:
        made, found = state.State(1), state.plan(round(state.WHOLE * part))
        for number in range(state.LOG_FILES):
            _write(path / "logs" / f"{number:02}.jsonl", made.log(found.logs // state.LOG_FILES))
        for number in range(found.small):
            _write(path / "features" / f"{number // 100:04}" / f"{number % 100:02}.bin", [made.small()])

    return write


def _append(path: Path, size: int) -> None:
    made = state.State(2)
    for log in sorted((path / "logs").iterdir()):
        with log.open("ab") as file:
            file.writelines(made.log(size // state.LOG_FILES))


def _rotate(path: Path) -> None:
    made = state.State(2)
    for number in range(4):
        log = path / "logs" / f"{number:02}.jsonl"
        log.rename(f"{log}.1")
        _write(log, made.log(5000))


def _insert_in_front(path: Path) -> None:
    made = state.State(2)
    for number in range(2):
        log = path / "logs" / f"{number:02}.jsonl"
        log.write_bytes(b"".join(made.log(1000)) + log.read_bytes())


def _database(rows: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.mkdir(parents=True)
        with sqlite3.connect(path / "data.db") as opened:
            opened.execute("CREATE TABLE scores (id INTEGER PRIMARY KEY, label TEXT, score REAL, vector BLOB)")
            opened.execute("CREATE INDEX labels ON scores (label)")
            opened.executemany("INSERT INTO scores VALUES (?, ?, ?, ?)", _rows(0, rows))
        opened.close()

    return write


def _rows(first: int, count: int) -> Iterator[tuple[int, str, float, bytes]]:
    chosen = random.Random(first)
    for number in range(first, first + count):
        yield number, f"label-{chosen.randrange(1 << 40):012x}", chosen.random(), chosen.randbytes(256)


def _sql(path: Path, statement: str, values: list[tuple[int]]) -> None:
    with sqlite3.connect(path / "data.db") as opened:
        opened.executemany(statement, values)
    opened.close()


def _insert(path: Path, rows: int, count: int) -> None:
    with sqlite3.connect(path / "data.db") as opened:
        opened.executemany("INSERT INTO scores VALUES (?, ?, ?, ?)", _rows(rows, count))
    opened.close()


def _vacuum(path: Path, rows: int) -> None:
    _sql(path, "DELETE FROM scores WHERE id = ?", [(number,) for number in random.Random(3).sample(range(rows), rows // 1000)])
    opened = sqlite3.connect(path / "data.db", isolation_level=None)
    opened.execute("VACUUM")
    opened.close()


def _gaussian(size: int) -> np.ndarray:
    return (np.random.default_rng(1).standard_normal(size // 2, np.float32) * 0.05).astype(np.float16)


def _write_values(path: Path, values: np.ndarray) -> None:
    path.mkdir(parents=True, exist_ok=True)
    values.tofile(path / "weights.bin")


def _update(path: Path) -> None:
    old = np.fromfile(path / "weights.bin", np.float16).astype(np.float32)
    step = np.random.default_rng(2).standard_normal(len(old), np.float32) * np.float32(0.05 * STEP)
    _write_values(path, (old + step).astype(np.float16))


def _noise(path: Path, size: int, seed: int) -> None:
    _write(path, state.State(seed).weights(size))


def _change_a_page(path: Path) -> None:
    _replace_pages(path / "data.db", 1)


def _big_files(path: Path) -> None:
    """As many big files as there are layers for, with little in them, and one more."""
    path.mkdir(parents=True)
    for number in range(1, BIG_FILES):
        with (path / f"{number:02}.bin").open("wb") as file:
            file.write(b"%d" % number)
            file.truncate(BIG)
    _noise(path / f"{BIG_FILES:02}.bin", BIG, 1)


def _shards(path: Path, part: float) -> None:
    for number in range(SHARDS):
        _noise(path / f"{number:02}.bin", round(SHARD * part), number)


def _learn_shards(path: Path) -> None:
    for number in range(CHANGED_SHARDS):
        shard = path / f"{number * 13:02}.bin"
        _replace_pages(shard, max(1, shard.stat().st_size // PAGE // 100), seed=3 + number)


def _replace_pages(path: Path, count: int, seed: int = 3) -> None:
    """Replace pages of a file by other weights, which depend on the seed."""
    made, pages = state.State(seed), path.stat().st_size // PAGE
    with path.open("r+b") as file:
        for page in sorted(random.Random(4).sample(range(pages), count)):
            file.seek(page * PAGE)
            file.write(b"".join(made.weights(PAGE)))


def _write(path: Path, blocks: Iterator[bytes] | list[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(blocks)


def change_of(kind: Kind, old: Path, new: Path) -> None:
    """Write the old state and the new one."""
    kind.write(old)
    shutil.copytree(old, new, symlinks=True)
    kind.change(new)
