"""Resumes a paused container if this process dies: by a watchdog process, and by a journal in case that dies, too.

The journal is a note of each container that is paused; `abandoned` finds the notes of dead processes. The watchdog runs in
a session of its own. It reads from a pipe that this process holds open, and resumes the container when the pipe closes and
the note is still there. A process that resumes a container for a dead one holds the lock of its note meanwhile: a later
command that pauses it anew waits for that lock, so its own pause is never taken for the abandoned one.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bundler.engines import journal
from bundler.engines.journal import Note
from bundler.errors import EngineError

READY = b"ready\n"
GRACE = 3.0
"""Seconds for which the watchdog waits for a pause that was still in progress when its parent died."""
RELEASE = 1.0
"""Seconds within which the kernel releases the locks of a process whose pipes it has closed."""


@dataclass(frozen=True)
class Abandoned:
    """A container that a dead process of ours had paused; ``host`` is the URL of its engine, empty if unknown."""

    journal: Path
    host: str
    container: str


@contextmanager
def guarded(state: Path, url: str, container: str, given: str) -> Iterator[Note]:
    """Have a container resumed if this process ends inside the block; the caller pauses and resumes it there.

    ``url`` is the engine's, for the journal; ``given`` is its name on the command line, for the watchdog. If the block
    ends and the note is not settled, the watchdog or the next command resumes the container.
    """
    with watched(state, container, {"host": url, "container": container}, "bundler.engines.watchdog", given, container) as note:
        yield note


@contextmanager
def watched(state: Path, name: str, content: Mapping[str, str], module: str, *arguments: str) -> Iterator[Note]:
    """The same with a watchdog of another module; ``content`` of the note is for `journal.abandoned`."""
    directory = directory_of(state)
    with (
        _watchdog(module, *arguments, str(journal.path_of(directory, name))),
        journal.noted(directory, name, content) as note,
    ):
        yield note


def abandoned(state: Path) -> Iterator[Abandoned]:
    """Yield the containers whose note has no live process; a damaged note gives only the container, by its file name.

    Each note is locked until the next is asked for.
    """
    for left in journal.abandoned(directory_of(state)):
        yield Abandoned(left.path, left.content.get("host", ""), left.path.stem)


class Paused(Protocol):
    """A container that may be paused."""

    def is_paused(self) -> bool: ...

    def resume(self) -> None: ...


def watch(note: Path, connect: Callable[[Mapping[str, str]], Paused | None]) -> None:
    """Run as the watchdog: wait for the end of the pipe on stdin, and resume the container if its note is still there.

    Another process that acts on the note takes precedence. ``connect`` gets the content of the note, only then, and may return
    None for a damaged one. The note stays unless a paused container was resumed: the engine may still carry out a request to
    pause.
    """
    # A Ctrl-C or a hang-up of the terminal ends the command; the watchdog must survive it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    sys.stdin.buffer.read()
    with journal.claimed(note, RELEASE) as left:
        if not left:
            return
        container = connect(left.content)
        deadline = time.monotonic() + GRACE
        while container and time.monotonic() < deadline:
            if container.is_paused():
                container.resume()
                note.unlink(missing_ok=True)
                return
            time.sleep(0.1)


@contextmanager
def _watchdog(module: str, *arguments: str) -> Iterator[None]:
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdin
    assert process.stdout
    try:
        if process.stdout.readline() != READY:
            raise EngineError("the watchdog that resumes the container did not start", hint="Please report this.")
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def directory_of(state: Path) -> Path:
    """The directory of the notes."""
    return state / "paused"
