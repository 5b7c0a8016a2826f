"""Locks between processes (flock(2)): every wait has a limit and is logged with the PID of the holder.

The PID is from ``/proc/locks`` (proc_locks(5)). Unlike a PID in the file, this works for shared locks and for files with
other content, such as ``oci-layout``, and never names an ended process.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bundler.errors import BusyError
from bundler.localfs import private_file

LIMIT = 30.0
"""Default wait in seconds, for locks that are held briefly."""

LOG_AFTER = 1.0
"""Seconds of a wait before it is logged."""

_STEP = 0.02
_log = logging.getLogger(__name__)


def acquire(file: int, what: str, limit: float = LIMIT, *, shared: bool = False) -> None:
    """Lock an open file; raises `BusyError` when another process holds the lock for longer than ``limit`` seconds.

    ``what`` is the locked thing in messages: "the container x".
    """
    if attempt(file, shared=shared) or (limit and _wait(file, what, limit, shared=shared)):
        return
    raise busy(file, what)


def attempt(file: int, *, shared: bool = False) -> bool:
    """Lock an open file, or return False while another process holds the lock."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(path: Path, what: str, limit: float = LIMIT) -> Iterator[None]:
    """Hold the lock of a file for the block; the file is created if missing, and stays."""
    file = private_file.open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        acquire(file, what, limit)
        yield
    finally:
        os.close(file)


def busy(file: int, what: str) -> BusyError:
    """Return the error for a lock that other processes hold."""
    pids = _holders(file)
    stopped = [pid for pid in pids if _is_stopped(pid)]
    message = f"another fps-bundle is using {what}{_named(pids)}"
    if stopped:
        command = f"kill -CONT {' '.join(map(str, stopped))}"
        return BusyError(f"{message}, and stopped", hint="Resume it, then run the same command again:", command=command)
    return BusyError(message, hint="Wait until it is done, then run the same command again.")


def _wait(file: int, what: str, limit: float, *, shared: bool) -> bool:
    if _poll(file, min(LOG_AFTER, limit), shared=shared):
        return True
    _log.warning("waiting up to %.0f s: another fps-bundle is using %s%s", limit, what, _named(_holders(file)))
    return _poll(file, limit - LOG_AFTER, shared=shared)


def _poll(file: int, seconds: float, *, shared: bool) -> bool:
    from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed  # slow to import, and rarely needed

    polling = Retrying(
        retry=retry_if_result(lambda is_locked: not is_locked),
        stop=stop_after_delay(max(0, seconds)),
        wait=wait_fixed(_STEP),
        retry_error_callback=lambda _: False,
    )
    return bool(polling(attempt, file, shared=shared))


def _holders(file: int) -> Sequence[int]:
    """Return the PIDs of the processes that hold a lock on an open file, as far as visible here."""
    found = os.fstat(file)
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with suppress(OSError):
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        pids = {int(line[4]) for line in lines if line[1] == "FLOCK" and line[5] == place}
        return sorted(pid for pid in pids if pid > 0 and pid != os.getpid())
    return ()


def _is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal (proc_pid_stat(5))."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")
    return False


def _named(pids: Sequence[int]) -> str:
    return f" (PID {', '.join(map(str, pids))})" if pids else ""
