"""Find what in a bundle grants rights: files with setuid, setgid or capabilities, and changed launch settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from itertools import takewhile

from bundler.errors import ModelError, PrivilegeError
from bundler.format import paths, units
from bundler.format.launch import Change
from bundler.format.tar import Entry
from bundler.ports import Engine, Image, Reader
from bundler.streams import Progress

_SHOWN = 20


FilesInBase = Callable[[Sequence[str]], Mapping[str, Entry]]
"""Reads the files of a base at some paths; a path that the base does not have is missing from the result."""


def check(found: Sequence[Entry], read_base: FilesInBase, progress: Progress, *, allowed: bool) -> None:
    """Raise `PrivilegeError` for files with other rights than the base's files at the same paths, unless ``allowed``."""
    in_base = read_base([entry.path for entry in found]) if found else {}
    gained = [entry for entry in found if entry.path not in in_base or _rights(in_base[entry.path]) != _rights(entry)]
    for entry in gained[:_SHOWN]:
        progress.warn(f"{paths.encode(entry.path)} {_describe(entry)}, which the base does not have there")
    if len(gained) > _SHOWN:
        progress.warn(f"and {units.counted(len(gained) - _SHOWN, 'more such file')}")
    if gained and not allowed:
        raise PrivilegeError(
            f"the bundle brings {units.counted(len(gained), 'file')} with more rights than the base's, and no trusted signature",
            hint="Check the list above. If these files belong to the model, use --allow-privileged.",
        )


def check_settings(changes: Sequence[Change], progress: Progress, *, allowed: bool) -> None:
    """Raise `PrivilegeError` for launch settings that differ from the base image, unless ``allowed``."""
    for change in changes[:_SHOWN]:
        progress.warn(f"the bundle changes a setting of the base image: {change}")
    if len(changes) > _SHOWN:
        progress.warn(f"and {len(changes) - _SHOWN} more settings")
    if changes and not allowed:
        names = ", ".join(change.setting[:80] for change in changes[:_SHOWN])
        raise PrivilegeError(
            f"the bundle changes what the image runs, or as which user ({names}), and has no trusted signature",
            hint="Check the values above. If they are right for the model, use --allow-privileged.",
        )


def files_on_engine(base: Image, engine: Engine, wanted: Sequence[str]) -> Mapping[str, Entry]:
    """Return the files of the base at these paths, read from a container that is never started."""
    with engine.created(base) as clean:
        reader = engine.reader(clean, "api")
        present = [path for path in sorted(wanted, key=paths.sort_key) if _is_file(path, reader)]
        tops = paths.merge(top for path in present if (top := _nearest_readable(path)))
        if not tops:
            return {}
        with closing(reader.entries(tops)) as walk:
            return {entry.path: entry for entry, _ in walk if entry.path in present}


def _nearest_readable(path: str) -> str:
    """Return the lowest path at or above this one with only UTF-8 names; Docker's archives change other names."""
    return "/".join(takewhile(paths.is_utf8, path.split("/")))


def _is_file(path: str, reader: Reader) -> bool:
    """Whether a path is something other than a directory, and not behind a symlink."""

    def read_link(above: str) -> str | None:
        info = reader.stat(above)
        return info.link_target if info else None

    with suppress(ModelError):  # a loop of links leads to no file
        info = reader.stat(path)
        return info is not None and not info.is_directory and paths.resolve(path, read_link) == path
    return False


def _rights(entry: Entry) -> tuple[int, int, int, bytes]:
    return entry.mode, entry.uid, entry.gid, entry.capability


def _describe(entry: Entry) -> str:
    bits = [name for bit, name in ((0o4000, f"user {entry.uid}"), (0o2000, f"group {entry.gid}")) if entry.mode & bit]
    if entry.capability:
        bits.append("its capabilities")
    return f"runs with the rights of {' and '.join(bits)}"
