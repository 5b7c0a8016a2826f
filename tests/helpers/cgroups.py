"""Processes in mount namespaces and cgroups of their own, as runtimes start them, but without a runtime."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_MOUNTS = {1: ("cgroup", "freezer"), 2: ("cgroup2", "")}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes cgroups and mount namespaces")


def root_of(version: int) -> Path | None:
    """Where the hierarchy of a version with a freezer is mounted, if it is."""
    kind, option = _MOUNTS[version]
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, behind = line.partition(" - ")
        if behind.split()[0] == kind and (not option or option in behind.split()[2].split(",")):
            return Path(before.split()[4])
    return None


@dataclass
class Cgroup:
    """A cgroup of a test, with the processes that it was given."""

    directory: Path
    opened: ExitStack = field(default_factory=ExitStack)

    def add(self, pid: int) -> None:
        """Move a process into it, also while it is frozen."""
        (self.directory / "cgroup.procs").write_text(str(pid))

    def start(self, *, unshared: bool = True, command: tuple[str, ...] = ("sleep", "600"), beside: int = 0) -> int:
        """Start a process in it, in mounts of its own or of the process ``beside``; gives its PID."""
        return self.opened.enter_context(sleeping(self.directory, unshared=unshared, command=command, beside=beside))

    @contextmanager
    def inner(self) -> Iterator[Cgroup]:
        with _made(self.directory / "inner") as inner:
            yield inner


@contextmanager
def cgroup(version: int) -> Iterator[Cgroup]:
    """Make a cgroup for the length of the block."""
    root = root_of(version)
    if root is None or not os.access(root, os.W_OK):
        pytest.skip(f"no writable cgroups of version {version}")
    with _made(root / f"fps-test-{secrets.token_hex(4)}") as made:
        yield made


@contextmanager
def sleeping(
    place: Path | None = None, *, unshared: bool = True, command: tuple[str, ...] = ("sleep", "600"), beside: int = 0
) -> Iterator[int]:
    """Run a process, by default in a mount namespace of its own; gives its PID. It begins in the cgroup ``place``."""
    prefix = ["unshare", "--mount", "--propagation", "private", "--"] if unshared else []
    if beside:
        prefix = ["nsenter", f"--mount=/proc/{beside}/ns/mnt", "--"]

    def join() -> None:
        if place:
            (place / "cgroup.procs").write_text(str(os.getpid()))

    process = subprocess.Popen([*prefix, *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=join)
    try:
        if unshared or beside:
            wait_until(lambda: not Path(f"/proc/{process.pid}/ns/mnt").samefile("/proc/self/ns/mnt"))
        yield process.pid
    finally:
        process.kill()
        process.wait()


def wait_until(condition: object, seconds: float = 60) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@contextmanager
def _made(directory: Path) -> Iterator[Cgroup]:
    directory.mkdir()
    made = Cgroup(directory)
    try:
        yield made
    finally:
        for file, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            with contextlib.suppress(OSError):
                if (directory / file).exists():
                    (directory / file).write_text(value)
        made.opened.close()
        wait_until(lambda: _removed(directory))


def _removed(directory: Path) -> bool:
    with contextlib.suppress(OSError):
        directory.rmdir()
    return not directory.exists()
