"""What the exported files need and a bundle leaves behind: targets of symlinks, and journals of SQLite databases.

A symlink is reported when what it leads to is not exported, exists in the container, and is not part of the clean base.
Its target is looked up in the container, through any other links on the way; each of those counts as a target, too. A dangling
link is not reported, nor is a link into `/proc`, `/sys`, `/dev` or a tmpfs, which no image holds. A changed file whose name is
not UTF-8 is not recognised as changed, because engines list changes as JSON.

An exported file is reported when a file of the same name with ``-wal`` or ``-journal`` at its end stands beside it, is not
empty, and is not exported: SQLite then finds a database without its last transactions (https://www.sqlite.org/wal.html).
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from bundler.errors import ModelError
from bundler.format import paths, units
from bundler.format.tar import Entry, Kind
from bundler.ports import Container, Engine, Image, Reader
from bundler.verbs.mounts import ENGINE_FILES, on_tmpfs

MAX_LINKS = 10_000
"""Links whose targets are looked up; further ones are counted only."""

_SHOWN = 5
_SIDECARS = ("-wal", "-journal")


@dataclass(frozen=True)
class LeftBehind:
    """A file or directory that stays behind, and the exported path that needs it."""

    path: str
    needed: str


@dataclass(frozen=True)
class Findings:
    """All that stays behind; of the links that lead out, ``unchecked`` were too many to look up."""

    targets: Sequence[LeftBehind] = ()
    sidecars: Sequence[LeftBehind] = ()
    unchecked: int = 0

    def messages(self) -> Iterator[str]:
        """What to say about them, with counts and a few examples."""
        if self.targets:
            shown = ", ".join(f"{paths.encode(it.path)} -> {paths.encode(it.needed)}" for it in self.targets[:_SHOWN])
            links = units.counted(len(self.targets), "exported symbolic link")
            yield f"not exported, so they stay behind: the targets of {links}: {shown}"
        if self.unchecked:
            links = units.counted(self.unchecked, "more symbolic link")
            yield f"the targets of {links} that lead out of the exported paths were not looked up"
        if self.sidecars:
            shown = ", ".join(paths.encode(it.needed) for it in self.sidecars[:_SHOWN])
            databases = units.counted(len(self.sidecars), "exported database")
            yield f"not exported, so the last transactions of {databases} stay behind: the journals {shown}"


@dataclass
class Needs:
    """Notes, while the exports are read, what in them may need something from outside."""

    exports: frozenset[str]
    _links: list[Entry] = field(default_factory=list)
    _unchecked: int = 0
    _files: list[str] = field(default_factory=list)

    def saw(self, entry: Entry) -> None:
        """Take note of one entry of the state."""
        if entry.kind is Kind.SYMLINK and not paths.top_of(paths.absolute(entry.target, entry.path), self.exports):
            if len(self._links) < MAX_LINKS:
                self._links.append(entry)
            else:
                self._unchecked += 1
        elif entry.kind in (Kind.FILE, Kind.HARD_LINK) and entry.path in self.exports:
            self._files.append(entry.path)

    def find(self, container: Container, base: Image, engine: Engine, reader: Reader) -> Findings:
        """Find out what stays behind; no stream of the container may be open."""
        needed = {link.path: _needed(link, self.exports, container, reader) for link in self._links}
        kept = _kept({path for found in needed.values() for path in found}, self.exports, container, base, engine)
        lost = {link: [path for path in found if path not in kept] for link, found in needed.items()}
        targets = [LeftBehind(link, found[-1]) for link, found in lost.items() if found]
        sidecars = [
            LeftBehind(file, beside)
            for file in self._files
            for beside in (file + suffix for suffix in _SIDECARS)
            if not paths.top_of(beside, self.exports) and reader.stat(beside) and engine.size(container, beside)
        ]
        return Findings(targets, sidecars, self._unchecked)


def _needed(link: Entry, exports: Collection[str], container: Container, reader: Reader) -> list[str]:
    """What stands outside of the exports on the way from a link to its target, the target last; nothing for a dangling link."""
    passed: list[str] = []

    def read_link(path: str) -> str | None:
        info = reader.stat(path)
        if info and info.link_target is not None:
            passed.append(path)
        return info.link_target if info else None

    where, target = link.path, link.target
    for _ in range(paths.MAX_LINKS):
        try:
            where = paths.resolve(posixpath.join(posixpath.dirname(where), target), read_link)
        except ModelError:  # a loop
            return []
        info = reader.stat(where)
        if info is None:
            return []
        passed.append(where)
        if info.link_target is None:
            return [path for path in passed if not paths.top_of(path, exports) and not _is_made_anew(path, container)]
        target = info.link_target
    return []


def _is_made_anew(path: str, container: Container) -> bool:
    """Whether no image holds a path: the engine makes it for every container, or it is in memory."""
    return path in ENGINE_FILES or "/" + path.split("/")[1] in paths.FORBIDDEN or on_tmpfs(container, path)


def _kept(needed: Collection[str], exports: Collection[str], container: Container, base: Image, engine: Engine) -> set[str]:
    """Those of some paths outside of the exports that are as in the clean base, so that a new image has them, too."""
    if not needed:
        return set()
    changes = _Changes(engine.changes(container), exports, container)
    kept = {path for path in needed if not changes.concern(path)}
    if engine.image(container.image_id).diff_ids == base.diff_ids:
        return kept
    with engine.created(base) as clean:  # what an earlier bundle brought is no change of this container's
        there = engine.reader(clean, "api")
        return {path for path in kept if there.stat(path) is not None}


class _Changes:
    """What differs from the container's image outside of the exports."""

    def __init__(self, changes: dict[str, str], exports: Collection[str], container: Container) -> None:
        # A directory counts as changed when something in it is; and a bundle brings the directories above its exports.
        parents = _above(path for path, change in changes.items() if change != "deleted")
        brought = _above((*exports, *ENGINE_FILES))
        self._changed = {
            path
            for path, change in changes.items()
            if change != "deleted"
            and path not in brought
            and not (change == "changed" and path in parents)
            and not paths.top_of(path, exports)
            and not _is_made_anew(path, container)
        }
        self._mounts = [path for path, kind in container.mounts.items() if kind != "tmpfs" and not paths.top_of(path, exports)]
        self._parents = _above((*self._changed, *self._mounts))

    def concern(self, path: str) -> bool:
        """Whether something at or below a path is not as in the image."""
        inside = path in self._changed or path in self._parents or any(paths.is_within(path, mount) for mount in self._mounts)
        return inside or (path == "/" and bool(self._changed or self._mounts))


def _above(below: Iterable[str]) -> set[str]:
    return {directory for path in below for directory in paths.ancestors(path)}
