"""The freezer of a cgroup: it stops all processes in it and below, in cgroups of version 1 and 2.

Sources: the kernel's documentation, admin-guide/cgroup-v1/freezer-subsystem.rst and admin-guide/cgroup-v2.rst (``cgroup.freeze``).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import EngineError, ModelError

FREEZE_TIMEOUT = 10.0
"""Seconds within which all processes must stand still; one that waits for a disk or a network file system does not."""
THAW_TIMEOUT = 10.0
STEP = 0.01


@dataclass(frozen=True)
class Freezer:
    """The freezer of one cgroup; ``path`` is that of the cgroup in its hierarchy, ``directory`` where it is mounted."""

    version: int
    directory: Path
    path: str

    @property
    def file(self) -> Path:
        """The file that freezes and thaws."""
        return self.directory / ("freezer.state" if self.version == 1 else "cgroup.freeze")

    @property
    def is_frozen(self) -> bool:
        """Whether all processes stand still; not while they are still being stopped. False for a removed cgroup."""
        return self._state(self._frozen)

    @property
    def is_asked(self) -> bool:
        """Whether it was frozen, whether or not all processes stand still yet. False for a removed cgroup."""
        return self._state(self._asked)

    @property
    def thawing(self) -> str:
        """The command that thaws."""
        return f"echo {'THAWED' if self.version == 1 else 0} > {self.file}"

    def freeze(self) -> None:
        """Stop all processes, and wait until they stand still; raises `ModelError` when they do not: then they go on."""
        try:
            self._write("FROZEN" if self.version == 1 else "1")
            if not self._wait(lambda: self.is_frozen, FREEZE_TIMEOUT, again="FROZEN" if self.version == 1 else ""):
                raise ModelError(
                    f"the processes of the cgroup {self.path} could not all be stopped within {FREEZE_TIMEOUT:.0f} s",
                    hint="One of them may wait for a disk or a network file system. Run the command again, or use --no-pause.",
                )
        except FileNotFoundError:
            raise ModelError(
                f"the cgroup {self.path} was removed: its processes have ended", hint="Start the model again."
            ) from None
        except BaseException:
            self.thaw()
            raise

    def thaw(self) -> None:
        """Let all processes go on; raises `EngineError` when they do not. A removed cgroup has none."""
        with contextlib.suppress(FileNotFoundError):
            self._write("THAWED" if self.version == 1 else "0")
        if not self._wait(lambda: not (self.is_asked or self.is_frozen), THAW_TIMEOUT):
            hint = "A cgroup above it may be frozen. Resume the container with:"
            raise EngineError(f"the cgroup {self.path} is still frozen", hint=hint, command=self.thawing)

    def processes(self) -> Iterator[int]:
        """Yield the PIDs of all processes in the cgroup and below it."""
        for listed in (self.directory, *(found for found in self.directory.rglob("*") if found.is_dir())):
            with contextlib.suppress(OSError):
                yield from map(int, (listed / "cgroup.procs").read_text().split())

    def _frozen(self) -> bool:
        if self.version == 1:
            return self.file.read_text().strip() == "FROZEN"
        return "frozen 1" in (self.directory / "cgroup.events").read_text().splitlines()

    def _asked(self) -> bool:
        return self.file.read_text().strip() in ("FROZEN", "FREEZING", "1")

    def _state(self, look: Callable[[], bool]) -> bool:
        try:
            return look()
        except FileNotFoundError:
            return False
        except OSError as error:
            if not self.directory.exists():  # removed while it was read
                return False
            raise EngineError(f"cannot read the state of the cgroup {self.path}: {error.strerror}") from error

    def _write(self, value: str) -> None:
        try:
            self.file.write_text(value)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise EngineError(
                f"cannot write {value} to {self.file}: {error.strerror}",
                hint="Run this as root on the host, where its cgroups are mounted with write access.",
            ) from error

    def _wait(self, condition: Callable[[], bool], limit: float, again: str = "") -> bool:
        """Poll a condition; ``again`` is written meanwhile, as a cgroup of version 1 does not retry by itself."""
        deadline = time.monotonic() + limit
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(STEP)
            if again:
                self._write(again)
        return True
