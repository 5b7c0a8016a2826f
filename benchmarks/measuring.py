"""Runs one command, and tells what it took: of itself, of what it started, and of the daemons that worked for it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLING = 0.1
"""Seconds between two looks at the memory, and the disk, that something takes."""
_PATIENCE = 30


@dataclass(frozen=True)
class Taken:
    """What a command took.

    ``cpu`` are seconds of the command and its children, ``daemons_cpu`` those of the engine and the registries, ``peak`` bytes
    of memory of the command and its children together, ``disk`` the most bytes that a watched directory had.
    """

    seconds: float
    cpu: float
    daemons_cpu: float
    peak: int
    disk: int
    output: bytes

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "output"}


class CommandError(Exception):
    """A command that was to be measured failed."""


def run(command: Sequence[str], environment: Mapping[str, str], watched: Path | None = None) -> Taken:
    """Run a command to its end and measure it; what was written before is on the disk when it begins."""
    os.sync()
    daemons = list(_children(os.getpid()))
    before = sum(map(_tree_cpu, daemons))
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    sampler = _Sampler(process.pid, watched)
    try:
        output, complaints = _both(process)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
    except BaseException:
        _end(process)
        raise
    finally:
        sampler.stop()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise CommandError(f"{' '.join(command)} ended with {process.returncode}: {complaints.decode()[-2000:]}")
    peak = max(sampler.memory, _peak(usage))
    daemons_cpu = sum(map(_tree_cpu, daemons)) - before
    return Taken(seconds, usage.ru_utime + usage.ru_stime, daemons_cpu, peak, sampler.disk, output)


def _both(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Standard output and standard error to their ends."""
    assert process.stdout
    assert process.stderr
    complaints: list[bytes] = []
    reader = threading.Thread(target=lambda stream: complaints.append(stream.read()), args=(process.stderr,), daemon=True)
    reader.start()
    output = process.stdout.read()
    reader.join()
    process.stdout.close()
    process.stderr.close()
    return output, b"".join(complaints)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a command, with all in its session, put away what it has begun."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _peak(usage: resource.struct_rusage) -> int:
    """The largest of the processes, in bytes; 0 where it may be what they had of us before they became programs of their own."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage.ru_maxrss << 10 if usage.ru_maxrss > own else 0


class _Sampler:
    """Looks again and again how much memory a tree of processes takes, and how large a directory is."""

    def __init__(self, pid: int, watched: Path | None) -> None:
        self.memory = 0
        self.disk = 0
        self._pid = pid
        self._watched = watched
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLING):
            self.memory = max(self.memory, sum(map(_memory, _tree(self._pid))))
            if self._watched:
                self.disk = max(self.disk, size_of(self._watched))


def size_of(path: Path) -> int:
    """Bytes of the file at a path, or of all files below it."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for directory, _, files in os.walk(path):
        for name in files:
            with suppress(FileNotFoundError):
                total += os.lstat(f"{directory}/{name}").st_size
    return total


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for child in _children(pid):
        yield from _tree(child)


def _children(pid: int) -> Iterator[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            yield from map(int, (task / "children").read_text().split())


def _memory(pid: int) -> int:
    """A process's share of the memory, in bytes; pages that several share are counted once in all."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def _tree_cpu(pid: int) -> float:
    """Seconds of a process, all below it, and all that ended there."""
    return sum(map(_cpu, _tree(pid)))


def _cpu(pid: int) -> float:
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS
    return 0.0


@dataclass(frozen=True)
class Case:
    """One thing to measure, by a name that the report knows.

    ``command`` is for a shell. ``before`` and ``after`` are not measured; ``produced`` tells the bytes that came out of it.
    ``watched`` is a directory whose largest size is wanted. With ``absent``, a reason, it cannot be run here.
    """

    name: str
    command: str
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    produced: Callable[[], int] = lambda: 0
    watched: Path | None = None
    absent: str = ""


class Results:
    """What was measured, by the names of the cases."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self._tell = tell

    def measure(self, case: Case, environment: Mapping[str, str], note: Callable[[bytes], Mapping[str, Any]] | None = None) -> None:
        """Run a case once more; what ``note`` finds in its output is kept with the rest."""
        entry = self.found.setdefault(case.name, {"command": case.command, "runs": []})
        if case.absent:
            entry["absent"] = case.absent
            self._tell(f"{case.name}: absent, {case.absent}")
            return
        case.before()
        try:
            taken = run(["bash", "-o", "pipefail", "-c", case.command], environment, case.watched)
            told = dict(note(taken.output)) if note else {}
            entry["runs"].append({**taken.to_json(), "produced": case.produced(), **told})
        finally:
            case.after()
        self._tell(f"{case.name}: {taken.seconds:.1f} s, {taken.cpu:.1f} s of CPU, {taken.daemons_cpu:.1f} s of the daemons'")
