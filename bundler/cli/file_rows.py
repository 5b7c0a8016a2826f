"""Files of a bundle and differences between bundles, as rows of text and as JSON."""

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
"""Widths of the cells of a row on a terminal."""


def row(node: Node) -> list[str]:
    """Return mode, owner, size, time, sha256 and path; for a link, its target, too."""
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
    """Return the mode as ``ls -l`` prints it; a hard link has the type of its file."""
    return stat.filemode(_TYPES[entry.kind] | entry.mode)


def owner(entry: Entry) -> str:
    return f"{entry.uid}:{entry.gid}"


def time(entry: Entry) -> str:
    """Return the time by RFC 3339 in UTC, or ``@`` and Unix seconds for a year that RFC 3339 cannot express."""
    fraction = f".{entry.nanoseconds:09d}".rstrip("0") if entry.nanoseconds else ""
    try:
        return f"{datetime.fromtimestamp(entry.mtime, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"
    except (ValueError, OverflowError, OSError):
        return f"@{entry.mtime}{fraction}"


_FORMATTERS: Mapping[str, Callable[[Entry], str]] = {
    "content": lambda entry: console.size(entry.size),
    "type": lambda entry: entry.kind.name.lower().replace("_", " "),
    "mode": lambda entry: f"{entry.mode:04o}",
    "owner": owner,
    "time": time,
    "target": lambda entry: paths.encode(entry.target),
}


def difference_row(difference: Difference) -> list[str]:
    """Return the kind of change, the path, and the old and new values."""
    old, new = difference.old, difference.new
    if difference.fields and old and new and old.entry and new.entry:
        details = [_field(name, old.entry, new.entry) for name in difference.fields]
    else:
        details = [console.size(node.size) for node in (new, old) if node and node.entry]
    return [difference.change.value, paths.encode(difference.path), ", ".join(details)]


def setting_row(change: launch.Change) -> list[str]:
    """Return a launch setting with its old and new value."""
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
    """Return the number of paths for each kind of change; empty without changes."""
    return ", ".join(_total(change, total) for change, total in totals.items() if total.paths)


def _total(change: Change, total: Total) -> str:
    old, new = console.size(total.old_size), console.size(total.new_size)
    descriptions = {
        Change.ADDED: f"added ({new})",
        Change.REMOVED: f"removed ({old})",
        Change.CONTENT: f"with other content ({old} -> {new})",
        Change.METADATA: "with other metadata",
    }
    return f"{total.paths} {descriptions.get(change, change.value)}"


def _field(name: str, old: Entry, new: Entry) -> str:
    text = _FORMATTERS.get(name)
    return f"{name} {text(old)} -> {text(new)}" if text else name


def _without_path(node: Node) -> dict[str, Any]:
    return {key: value for key, value in as_json(node).items() if key != "path"}
