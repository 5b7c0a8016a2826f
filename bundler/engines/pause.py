"""No container stays paused: a watchdog for the death of this process, and a journal for that of the watchdog.

The watchdog is a process in a session of its own. It holds the other end of a pipe of ours, and resumes
the container when that closes before we said that all is well. The journal is one locked file for each
container that we hold; the lock goes with the process, and `abandoned` finds files without one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import EngineError, disk_errors

ALL_IS_WELL = b"resumed\n"
GRACE = 3.0
"""Seconds for which the watchdog waits for a pause that was still under way when we died."""


@dataclass(frozen=True)
class Abandoned:
    """A container that a dead process of ours had paused; ``host`` is the URL of its engine, empty if unknown."""

    journal: Path
    host: str
    container: str


class Guard:
    """What watches over one pause; `all_is_well` ends its watch."""

    def __init__(self) -> None:
        self.well = False

    def all_is_well(self) -> None:
        """The container runs, or was never paused by us."""
        self.well = True


@contextmanager
def guarded(state: Path, url: str, container: str, given: str) -> Iterator[Guard]:
    """Have a container resumed if this process ends inside the block; the caller pauses and resumes it there.

    ``url`` is the engine's, for the journal; ``given`` is what named it to us, and names it to the watchdog.
    When the block ends without `Guard.all_is_well`, the watchdog and the next command take care of it.
    """
    guard = Guard()
    with _journal(state, url, container, guard), _watchdog(given, container, guard):
        yield guard


def abandoned(state: Path) -> list[Abandoned]:
    """The containers whose journal nobody holds any more; of a damaged one only the container is known, by its name."""
    found = []
    for path in sorted(_directory(state).glob("*.json")):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                url = str(json.load(file)["host"])
            except (ValueError, LookupError, TypeError):
                url = ""
            found.append(Abandoned(path, url, path.stem))
    return found


def watch(is_paused: Callable[[], bool], resume: Callable[[], None]) -> None:
    """The watchdog's work: wait for the end of the pipe on stdin, and resume the container unless all is well."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if sys.stdin.buffer.read() == ALL_IS_WELL:
        return
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline:
        if is_paused():
            resume()
            return
        time.sleep(0.1)


@contextmanager
def _journal(state: Path, url: str, container: str, guard: Guard) -> Iterator[None]:
    directory = _directory(state)
    path = directory / f"{container}.json"
    with disk_errors(path):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        with disk_errors(path):
            fcntl.flock(file, fcntl.LOCK_EX)
            json.dump({"host": url, "container": container}, file)
            file.flush()
            os.fsync(file.fileno())
        try:
            yield
        finally:
            if guard.well:
                path.unlink(missing_ok=True)


@contextmanager
def _watchdog(given: str, container: str, guard: Guard) -> Iterator[None]:
    command = [sys.executable, "-m", "bundler.engines.watchdog", given, container]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdin
    assert process.stdout
    try:
        if process.stdout.readline() != b"ready\n":
            raise EngineError("the watchdog that would resume the container did not start", hint="Please report this.")
        yield
    finally:
        with contextlib.suppress(OSError):
            if guard.well:
                process.stdin.write(ALL_IS_WELL)
            process.stdin.close()
        process.wait()
        process.stdout.close()


def _directory(state: Path) -> Path:
    return state / "paused"
