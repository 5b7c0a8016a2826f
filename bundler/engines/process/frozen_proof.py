"""The proof that a frozen container stood still: its processes, the state of its cgroup, and what its threads ran.

A thread that ran, however shortly, was scheduled: its count of context switches shows it (proc_pid_status(5)). The state is also
polled. A process that a runtime starts in a frozen cgroup, as for a health check, stands still there, too: it only
makes the cgroup report for a moment that not all processes do.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path

from bundler.engines.process import cgroup, identity
from bundler.engines.process.freezer import Freezer
from bundler.engines.process.identity import ProcessId
from bundler.engines.proven_pause import Fault, disturbed
from bundler.errors import EngineError, ModelError

POLL = 0.05
"""Seconds between two looks at the state."""

_COUNTS = ("voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:")


class FrozenProof:
    """The observations of one container from its pause on; ``name`` is the container's in messages."""

    def __init__(self, process: ProcessId, freezer: Freezer, name: str) -> None:
        self._process = process
        self._freezer = freezer
        self._name = name
        self._switches: Mapping[tuple[int, int], int] = {}
        self._seen_running = False
        self._ended = threading.Event()
        self._poller = threading.Thread(target=self._poll, daemon=True, name="freezer-poll")

    def begin(self) -> None:
        """Record the state after the pause; raises `ModelError` when the process has ended since its lookup."""
        if not self._process.is_alive:
            raise ModelError(
                f"process {self._process.pid} ended before it was paused", hint="Start the model, then run the command again."
            )
        if not self._freezer.is_frozen:
            raise ModelError(f"another process resumed {self._name} at once", hint="Run the command again.")
        cgroup.check_complete(self._process, self._freezer)
        self._switches = self._measure()
        self._poller.start()

    def fault(self) -> Fault | None:
        """Return why the container did not stand still, or None."""
        if not self._poller.ident:
            return None
        self._ended.set()
        self._poller.join()
        if not self._process.is_alive:
            return Fault(disturbed(f"process {self._process.pid} of {self._name} ended"), ours=self._freezer.is_asked)
        if not self._freezer.is_asked:
            return Fault(disturbed(f"another process resumed {self._name}"))
        now = self._measure()
        if self._seen_running or any(now.get(thread) != count for thread, count in self._switches.items()):
            what = f"another process resumed {self._name} and paused it again"
            return Fault(disturbed(what, self._name, self._freezer.thawing))
        return None

    def _poll(self) -> None:
        while not self._ended.wait(POLL):
            with contextlib.suppress(EngineError):
                if not self._freezer.is_asked:
                    self._seen_running = True
                    return

    def _measure(self) -> dict[tuple[int, int], int]:
        """Count the context switches of each thread in the cgroup, by PID and thread."""
        found = {}
        for pid in self._freezer.processes():
            with contextlib.suppress(OSError):
                for task in (identity.PROC / str(pid) / "task").iterdir():
                    found[pid, int(task.name)] = _switches(task)
        return found


def _switches(task: Path) -> int:
    lines = (task / "status").read_text(errors="replace").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(_COUNTS))
