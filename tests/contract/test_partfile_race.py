"""Files that are being written survive whoever sweeps up beside them."""

from __future__ import annotations

import threading
from pathlib import Path

from bundler.localfs.atomic_file import PartFile, sweep, write_file


def test_a_file_that_is_being_written_is_never_swept_away(tmp_path: Path) -> None:
    done = threading.Event()

    def sweep_on() -> None:
        while not done.is_set():
            sweep(tmp_path)

    sweepers = [threading.Thread(target=sweep_on) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        for number in range(300):
            with PartFile(tmp_path) as part:
                part.write(b"x")
                part.publish(tmp_path / str(number))
    finally:
        done.set()
        for sweeper in sweepers:
            sweeper.join()
    assert {path.name for path in tmp_path.iterdir()} == {str(number) for number in range(300)}


def test_what_a_killed_process_left_of_a_small_file_goes_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ".fps-bundle-part-killed").write_bytes(b"half")
    write_file(tmp_path / "index.json", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]
