"""Which process a PID means: PIDs are reused, the start time tells two processes apart (proc_pid_stat(5))."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import AuthorizationError, NotFoundError, UsageError

PROC = Path("/proc")

_KERNEL_THREAD = 0x00200000  # PF_KTHREAD of the kernel's sched.h
_ENDED = ("Z", "X")
# The fields of /proc/PID/stat behind the name, from 0.
_STATE, _FLAGS, _STARTED = 0, 6, 19


@dataclass(frozen=True)
class ProcessId:
    """A process; ``started`` is its start in clock ticks since the boot."""

    pid: int
    started: str

    @property
    def home(self) -> Path:
        """Its directory in ``/proc``."""
        return PROC / str(self.pid)

    @property
    def is_alive(self) -> bool:
        """Whether this process still exists: another one with its PID does not count."""
        fields = _fields(self.pid)
        return bool(fields) and fields[_STARTED] == self.started and fields[_STATE] not in _ENDED


def find(pid: int) -> ProcessId:
    """Return the process of a container; raises an error for a PID that has none, and for one that is not in a container.

    Raises `NotFoundError`, `AuthorizationError` when this program is not run by root, and `UsageError`.
    """
    fields = _fields(pid)
    if not fields or fields[_STATE] in _ENDED:
        raise NotFoundError(
            f"there is no process with PID {pid}" + (": it has ended" if fields else ""),
            hint="Use the PID of the model's main process, as this host sees it. containerd shows it with:",
            command="ctr task list",
        )
    if os.geteuid() != 0:
        raise AuthorizationError(f"the files of process {pid} can be read by root alone", hint="Run this command as root.")
    if int(fields[_FLAGS]) & _KERNEL_THREAD:
        raise UsageError(
            f"process {pid} is a thread of the kernel: it has no files", hint="Use the PID of the model's main process."
        )
    if pid == os.getpid():
        raise UsageError(f"process {pid} is this fps-bundle", hint="Use the PID of the model's main process.")
    process = ProcessId(pid, fields[_STARTED])
    if is_on_host(process.home):
        raise UsageError(
            f"process {pid} is in no container: it sees the mounts of this host",
            hint="Use the PID of the model's main process, inside its container.",
        )
    return process


def is_on_host(home: Path) -> bool:
    """Whether a process, by its directory in ``/proc``, sees the mounts of the first process or of this program."""
    return shares_mounts(home, PROC / "1") or shares_mounts(home, PROC / "self")


def shares_mounts(home: Path, other: Path) -> bool:
    """Whether two processes, by their directories in ``/proc``, are in one mount namespace; False if one has ended."""
    with contextlib.suppress(OSError):
        return (home / "ns" / "mnt").samefile(other / "ns" / "mnt")
    return False


def _fields(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` behind the name, which may contain anything; none for a PID without a process."""
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(") ")[2].split()
    return []
