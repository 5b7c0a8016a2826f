"""Processes that are killed at random moments."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import preloaded

KILLS = int(os.environ.get("FPS_BUNDLE_KILLS", "2"))
SEED = os.environ.get("FPS_BUNDLE_SEED", "20261125")

Start = Callable[[], "subprocess.Popen[str] | preloaded.Process"]


def duration(start: Start) -> float:
    """Seconds that the process takes when nobody kills it."""
    process = start()
    began = time.monotonic()
    finish(process)
    return time.monotonic() - began


def finish(process: subprocess.Popen[str] | preloaded.Process) -> str:
    """Wait for a process that shall succeed; gives what it printed."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.strip()


def moments(what: str, longest: float, since: float = 0.3) -> Iterator[float]:
    """When to kill each of `KILLS` processes, in seconds after its start.

    Nothing is done yet in the part ``since`` of the time, while Python starts; a preloaded program begins at once.
    Each is drawn from its own part of the time, so that also a few of them are early, and late.
    """
    generator = random.Random(f"{SEED}/{what}")
    return (longest * (since + (1 - since) * (number + generator.random()) / KILLS) for number in range(KILLS))


def kill(process: subprocess.Popen[str] | preloaded.Process, seconds: float) -> None:
    """``kill -9`` a process after so many seconds, unless it has ended."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
