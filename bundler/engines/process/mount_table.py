"""The mounts of a process, as ``/proc/PID/mountinfo`` lists them (proc_pid_mountinfo(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bundler.format import paths

_ESCAPED = re.compile(rb"\\([0-7]{3})")
_IN_MEMORY = ("tmpfs", "ramfs")


@dataclass(frozen=True)
class Mount:
    """One mount: the directory of its file system that is mounted, and where; ``options`` are those of the file system."""

    root: str
    point: str
    kind: str
    options: Sequence[str]


def read(data: bytes) -> list[Mount]:
    """Read the lines of a mount table, in their order: of two mounts at one place the later one is visible."""
    return list(_mounts(data))


def of_container(table: Sequence[Mount]) -> Mapping[str, str]:
    """Return the mounts in a container by destination: ``tmpfs`` or ``bind``, without those that every container has.

    A directory of a tmpfs of the host is a bind mount, as its content outlives the container.
    """
    found = {}
    for mount in table:
        if mount.point != "/" and "/" + mount.point.split("/")[1] not in paths.FORBIDDEN:
            found[mount.point] = "tmpfs" if mount.kind in _IN_MEMORY and mount.root == "/" else "bind"
    return found


def root(table: Sequence[Mount]) -> Mount | None:
    """Return the mount at the root."""
    return next((mount for mount in reversed(table) if mount.point == "/"), None)


def _mounts(data: bytes) -> Iterator[Mount]:
    for line in data.splitlines():
        before, _, behind = line.partition(b" - ")
        fields, rest = before.split(b" "), behind.split(b" ")
        if len(fields) >= 6 and len(rest) >= 3:
            kind, options = _text(rest[0]), _text(b" ".join(rest[2:]))
            yield Mount(_text(fields[3]), _text(fields[4]), kind, re.split(r"(?<!\\),", options))


def _text(field: bytes) -> str:
    return paths.from_bytes(_ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), field))
