"""No container stays paused: a watchdog for the death of this process, and a journal for that of the watchdog.

The watchdog is a process in a session of its own. It holds the other end of a pipe of ours, and resumes
the container when that closes before we said that all is well. The journal is a note of each container that
we hold, which `abandoned` finds when nobody is there any more.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundler.engines import journal
from bundler.engines.journal import Note
from bundler.errors import EngineError

ALL_IS_WELL = b"resumed\n"
GRACE = 3.0
"""Seconds for which the watchdog waits for a pause that was still under way when we died."""


@dataclass(frozen=True)
class Abandoned:
    """A container that a dead process of ours had paused; ``host`` is the URL of its engine, empty if unknown."""

    journal: Path
    host: str
    container: str


@contextmanager
def guarded(state: Path, url: str, container: str, given: str) -> Iterator[Note]:
    """Have a container resumed if this process ends inside the block; the caller pauses and resumes it there.

    ``url`` is the engine's, for the journal; ``given`` is what named it to us, and names it to the watchdog.
    When the block ends and the note is not settled, the watchdog and the next command take care of it.
    """
    with (
        journal.noted(_directory(state), container, {"host": url, "container": container}) as note,
        _watchdog(given, container, note),
    ):
        yield note


def abandoned(state: Path) -> list[Abandoned]:
    """The containers whose note nobody holds any more; of a damaged one only the container is known, by its name."""
    return [Abandoned(left.path, left.content.get("host", ""), left.path.stem) for left in journal.abandoned(_directory(state))]


def say_ready() -> None:
    """Let the process that is watched go on: whatever becomes of it, we shall see the end of the pipe."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def watch(is_paused: Callable[[], bool], resume: Callable[[], None]) -> None:
    """The watchdog's work: wait for the end of the pipe on stdin, and resume the container unless all is well."""
    if sys.stdin.buffer.read() == ALL_IS_WELL:
        return
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline:
        if is_paused():
            resume()
            return
        time.sleep(0.1)


@contextmanager
def _watchdog(given: str, container: str, note: Note) -> Iterator[None]:
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
            if note.settled:
                process.stdin.write(ALL_IS_WELL)
            process.stdin.close()
        process.wait()
        process.stdout.close()


def _directory(state: Path) -> Path:
    return state / "paused"
