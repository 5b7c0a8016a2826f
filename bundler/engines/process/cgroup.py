"""The cgroup that is frozen for a process: that of its container, and of nothing else."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler.engines.process import identity, mount_table
from bundler.engines.process.freezer import Freezer
from bundler.engines.process.identity import ProcessId
from bundler.errors import EngineError, UsageError

_HINT = "Start the model in a container with a cgroup of its own, or use the PID of the container's main process."


@dataclass(frozen=True)
class _Place:
    """A cgroup: version and path in the hierarchy, as ``/proc/PID/cgroup`` has them (cgroups(7))."""

    version: int
    path: str


def find(process: ProcessId) -> Freezer:
    """Return the freezer of the container of a process; raises `UsageError` when it would stop anything else.

    That is the innermost cgroup with all processes that see the same mounts as this one.
    """
    own = _places(Path("/proc/self"))
    for place in _places(process.home):
        if place.path == "/":
            continue
        place = _common(process, place)
        freezer = _mounted(place)
        if freezer and place.path != "/":
            _check_not_ours(process, place, own)
            _check_only_the_container(process, freezer)
            return freezer
    raise UsageError(
        f"process {process.pid} has no cgroup that can be frozen: it is in the root cgroup, or cgroups are not mounted here",
        hint=_HINT,
    )


def members(process: ProcessId) -> Iterator[ProcessId]:
    """Yield the processes that see the same mounts as this one, itself included."""
    for entry in os.listdir(identity.PROC):
        if entry.isdecimal() and identity.shares_mounts(identity.PROC / entry, process.home):
            yield ProcessId(int(entry), "")


def _places(home: Path) -> list[_Place]:
    """The cgroups of a process in hierarchies with a freezer, version 1 first: engines use it where there is one."""
    places = []
    with contextlib.suppress(OSError):
        for line in (home / "cgroup").read_text(errors="surrogateescape").splitlines():
            number, controllers, path = line.split(":", 2)
            if "freezer" in controllers.split(","):
                places.append(_Place(1, path))
            elif (number, controllers) == ("0", ""):
                places.append(_Place(2, path))
    return sorted(places, key=lambda place: place.version)


def _common(process: ProcessId, place: _Place) -> _Place:
    """The innermost cgroup that has all processes of the container: it may have further cgroups in it."""
    found = [other.path for member in members(process) for other in _places(member.home) if other.version == place.version]
    return _Place(place.version, posixpath.commonpath([place.path, *found]))


def _mounted(place: _Place) -> Freezer | None:
    """Find where a cgroup is mounted here, writable or not."""
    with contextlib.suppress(OSError):
        for mount in reversed(mount_table.read(Path("/proc/self/mountinfo").read_bytes())):
            is_kind = mount.kind == "cgroup2" if place.version == 2 else mount.kind == "cgroup" and "freezer" in mount.options
            if is_kind and "/.." not in place.path and posixpath.commonpath([mount.root, place.path]) == mount.root:
                freezer = Freezer(place.version, Path(mount.point, posixpath.relpath(place.path, mount.root)), place.path)
                if freezer.file.exists():
                    return freezer
    return None


def _check_not_ours(process: ProcessId, place: _Place, own: Sequence[_Place]) -> None:
    for mine in own:
        if mine.version == place.version and posixpath.commonpath([mine.path, place.path]) == place.path:
            raise UsageError(
                f"the cgroup {place.path} of process {process.pid} contains this fps-bundle, which would stop itself",
                hint="Run this command outside of that cgroup, for example from another login session.",
            )


def _check_only_the_container(process: ProcessId, freezer: Freezer) -> None:
    host = [pid for pid in freezer.processes() if identity.shares_mounts(identity.PROC / str(pid), identity.PROC / "1")]
    if host:
        raise UsageError(
            f"the cgroup {freezer.path} of process {process.pid} also contains processes of the host, such as PID {host[0]}",
            hint=_HINT,
        )


def check_complete(process: ProcessId, freezer: Freezer) -> None:
    """Raise `EngineError` when a process of the container is outside of a frozen cgroup: it still runs."""
    frozen = set(freezer.processes())
    running = [member.pid for member in members(process) if member.pid not in frozen]
    if running:
        raise EngineError(
            f"process {running[0]} sees the files of process {process.pid}, but is not in its cgroup {freezer.path}: it was not paused",
            hint="End it, or use --no-pause.",
        )
