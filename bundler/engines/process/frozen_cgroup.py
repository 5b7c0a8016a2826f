"""A cgroup that this program has frozen, and the note of it for the watchdog and the next command."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.engines import journal, pause_guard
from bundler.engines.process.freezer import Freezer
from bundler.localfs import state_directory

HOST = "process"
"""What stands in a note of a paused container in place of an engine's address."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class FrozenCgroup:
    """A cgroup that may be frozen; ``identity`` tells it from a later one of the same path."""

    freezer: Freezer
    identity: str

    @classmethod
    def of(cls, freezer: Freezer) -> FrozenCgroup:
        return cls(freezer, _identity(freezer.directory))

    @classmethod
    def read(cls, content: Mapping[str, str]) -> FrozenCgroup | None:
        """Read the content of a note; None for another kind of note, and for a damaged one."""
        with contextlib.suppress(KeyError, ValueError):
            if content["host"] == HOST:
                freezer = Freezer(int(content["version"]), Path(content["directory"]), content["container"])
                return cls(freezer, content["cgroup"])
        return None

    def write(self) -> Mapping[str, str]:
        """The content of a note."""
        return {
            "host": HOST,
            "container": self.freezer.path,
            "version": str(self.freezer.version),
            "directory": str(self.freezer.directory),
            "cgroup": self.identity,
        }

    def is_paused(self) -> bool:
        return _identity(self.freezer.directory) == self.identity and self.freezer.is_asked

    def resume(self) -> None:
        self.freezer.thaw()


def recover() -> list[str]:
    """Resume what killed processes of ours left frozen; returns what was done."""
    actions = []
    for left in journal.abandoned(pause_guard.directory_of(state_directory.directory())):
        if frozen := FrozenCgroup.read(left.content):
            if frozen.is_paused():
                frozen.resume()
                actions.append(f"resumed the paused cgroup {frozen.freezer.path}")
            left.path.unlink(missing_ok=True)
    return actions


def _identity(directory: Path) -> str:
    """Boot and inode, which the kernel does not use again; empty for a removed cgroup."""
    with contextlib.suppress(OSError):
        boot = _BOOT.read_text().strip()
        return f"{boot} {directory.stat().st_ino}"
    return ""
