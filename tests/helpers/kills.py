"""Processes that are killed at random moments."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator

KILLS = int(os.environ.get("FPS_BUNDLE_KILLS", "2"))
SEED = os.environ.get("FPS_BUNDLE_SEED", "20261125")

Start = Callable[[], "subprocess.Popen[str]"]


def duration(start: Start) -> float:
    """Seconds that the process takes when nobody kills it."""
    began = time.monotonic()
    finish(start())
    return time.monotonic() - began


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process that shall succeed; gives what it printed."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.strip()


def moments(what: str, longest: float) -> Iterator[float]:
    """When to kill each of `KILLS` processes, in seconds after its start; it has done nothing yet while Python starts.

    Each is drawn from its own part of the time, so that also a few of them are early, and late.
    """
    generator = random.Random(f"{SEED}/{what}")
    return (longest * (0.3 + 0.7 * (number + generator.random()) / KILLS) for number in range(KILLS))


def kill(process: subprocess.Popen[str], seconds: float) -> None:
    """``kill -9`` a process after so many seconds, unless it has ended."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
