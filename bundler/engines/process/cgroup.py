"""The cgroup that is frozen for a process: that of its container, and of nothing else."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bundler.engines.process import identity, mount_table
from bundler.engines.process.freezer import Freezer
from bundler.engines.process.identity import ProcessId
from bundler.errors import ModelError, UsageError

_HINT = "Start the model in a container with a cgroup of its own, or use the PID of the container's main process."


@dataclass(frozen=True)
class _Place:
    """A cgroup: version and path in the hierarchy, as ``/proc/PID/cgroup`` has them (cgroups(7))."""

    version: int
    path: str


def find(process: ProcessId) -> Freezer:
    """Return the freezer of the container of a process; raises `UsageError` when it would stop anything else.

    That is the innermost cgroup with all processes that see the same mounts as this one, unless that has other processes, too.
    """
    faults = []
    for place in _places(process.home):
        for candidate in dict.fromkeys((_common(process, place), place)):
            freezer = _mounted(candidate) if candidate.path != "/" else None
            if freezer and (fault := _fault(process, candidate, freezer)):
                faults.append(fault)
            elif freezer:
                check_complete(process, freezer)
                return freezer
    if faults:
        raise faults[-1]
    raise UsageError(
        f"process {process.pid} has no cgroup that can be frozen: it is in the root cgroup, or cgroups are not mounted here",
        hint=_HINT,
    )


def members(process: ProcessId) -> Iterator[ProcessId]:
    """Yield the processes that see the same mounts as this one, itself included."""
    for entry in identity.PROC.iterdir():
        if entry.name.isdecimal() and identity.shares_mounts(entry, process.home):
            yield ProcessId(int(entry.name), "")


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
            if is_kind and "/.." not in place.path and _is_within(place.path, mount.root):
                freezer = Freezer(place.version, Path(mount.point, posixpath.relpath(place.path, mount.root)), place.path)
                if freezer.file.exists():
                    return freezer
    return None


def _is_within(path: str, cgroup: str) -> bool:
    return posixpath.commonpath([path, cgroup]) == cgroup


def _fault(process: ProcessId, place: _Place, freezer: Freezer) -> UsageError | None:
    """Return why a cgroup must not be frozen, or None."""
    for own in _places(Path("/proc/self")):
        if own.version == place.version and _is_within(own.path, place.path):
            return UsageError(
                f"the cgroup {place.path} of process {process.pid} contains this fps-bundle, which would stop itself",
                hint="Run this command outside of that cgroup, for example from another login session.",
            )
    host = [pid for pid in freezer.processes() if identity.is_on_host(identity.PROC / str(pid))]
    if host:
        return UsageError(
            f"the cgroup {place.path} of process {process.pid} also contains processes of the host, such as PID {host[0]}",
            hint=_HINT,
        )
    return None


def check_complete(process: ProcessId, freezer: Freezer) -> None:
    """Raise `ModelError` when a process of the container is outside of a frozen cgroup: it still runs."""
    for member in members(process):
        outside = [
            it.path for it in _places(member.home) if it.version == freezer.version and not _is_within(it.path, freezer.path)
        ]
        if not outside:
            continue
        raise ModelError(
            f"process {member.pid} sees the files of process {process.pid}, but is not in its cgroup {freezer.path}: "
            "it cannot be paused",
            hint="End that process, then run the command again.",
        )
