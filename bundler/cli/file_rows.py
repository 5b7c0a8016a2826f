"""Files of a bundle, and what differs in those of two, for people and for scripts."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from bundler.cli import console
from bundler.format import launch, paths
from bundler.format.tar import Entry, Kind
from bundler.verbs.diff import Change, Difference, Total
from bundler.verbs.listing import Node

_TYPES = {Kind.FILE: stat.S_IFREG, Kind.HARD_LINK: stat.S_IFREG, Kind.SYMLINK: stat.S_IFLNK, Kind.DIRECTORY: stat.S_IFDIR}

WIDTHS = (10, 11, 12, 20, 71)
"""Columns that the cells of a row take on a terminal."""


def row(node: Node) -> list[str]:
    """Mode, owner, size, time, sha256, path, and where a link has one, its target."""
    entry, path = node.entry, paths.encode(node.path)
    if not entry:
        return ["deleted", "-", "-", "-", "-", path]
    target = [f"-> {paths.encode(entry.target)}"] if entry.target else []
    digest = str(node.digest) if node.digest else "-"
    return [mode(entry), owner(entry), str(entry.size), time(entry), digest, path, *target]


def as_json(node: Node) -> dict[str, Any]:
    entry = node.entry
    if not entry:
        return {"path": paths.encode(node.path), "type": "deleted"}
    return {
        "path": paths.encode(node.path),
        "type": entry.kind.name.lower(),
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "time": time(entry),
        **({"digest": str(node.digest)} if node.digest else {}),
        **({"target": paths.encode(entry.target)} if entry.target else {}),
    }


def mode(entry: Entry) -> str:
    """As ``ls -l`` shows it; a hard link is the file that it shares."""
    return stat.filemode(_TYPES[entry.kind] | entry.mode)


def owner(entry: Entry) -> str:
    return f"{entry.uid}:{entry.gid}"


def time(entry: Entry) -> str:
    """RFC 3339 in UTC; seconds since 1970 where a year has more digits than that can tell."""
    fraction = f".{entry.nanoseconds:09d}".rstrip("0") if entry.nanoseconds else ""
    try:
        return f"{datetime.fromtimestamp(entry.mtime, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"
    except (ValueError, OverflowError, OSError):
        return f"@{entry.mtime}{fraction}"


_TELLERS: Mapping[str, Callable[[Entry], str]] = {
    "content": lambda entry: console.size(entry.size),
    "type": lambda entry: entry.kind.name.lower().replace("_", " "),
    "mode": lambda entry: f"{entry.mode:04o}",
    "owner": owner,
    "time": time,
    "target": lambda entry: paths.encode(entry.target),
}


def difference_row(difference: Difference) -> list[str]:
    """What happened, where, and from what to what."""
    old, new = difference.old, difference.new
    if difference.fields and old and new and old.entry and new.entry:
        told = [_field(name, old.entry, new.entry) for name in difference.fields]
    else:
        told = [console.size(node.size) for node in (new, old) if node and node.entry]
    return [difference.change.value, paths.encode(difference.path), ", ".join(told)]


def setting_row(change: launch.Change) -> list[str]:
    """A launch setting that differs, and from what to what."""
    return ["setting", change.setting, f"{launch.shown(change.old)} -> {launch.shown(change.new)}"]


def difference_as_json(difference: Difference) -> dict[str, Any]:
    sides = {"old": difference.old, "new": difference.new}
    return {
        "path": paths.encode(difference.path),
        "change": difference.change.value,
        **({"fields": list(difference.fields)} if difference.fields else {}),
        **{side: _without_path(node) for side, node in sides.items() if node},
    }


def totals_as_json(totals: Mapping[Change, Total]) -> dict[str, Any]:
    return {
        change.value: {"paths": total.paths, "oldSize": total.old_size, "newSize": total.new_size}
        for change, total in totals.items()
    }


def totals_text(totals: Mapping[Change, Total]) -> str:
    """How many paths changed in which way, in one line; empty when none did."""
    return ", ".join(_total(change, total) for change, total in totals.items() if total.paths)


def _total(change: Change, total: Total) -> str:
    old, new = console.size(total.old_size), console.size(total.new_size)
    told = {
        Change.ADDED: f"added ({new})",
        Change.REMOVED: f"removed ({old})",
        Change.CONTENT: f"with other content ({old} -> {new})",
        Change.METADATA: "with other metadata",
    }
    return f"{total.paths} {told.get(change, change.value)}"


def _field(name: str, old: Entry, new: Entry) -> str:
    tell = _TELLERS.get(name)
    return f"{name} {tell(old)} -> {tell(new)}" if tell else name


def _without_path(node: Node) -> dict[str, Any]:
    return {key: value for key, value in as_json(node).items() if key != "path"}
