"""Files that the exported ones need and a bundle leaves behind: targets of symlinks, and journals of SQLite databases.

A symlink is reported when its target is not exported, exists in the container, and is not part of the clean base.
The target is looked up in the container, through any other links on the way; each of those counts as a target, too. Dangling
links are not reported, nor are links into `/proc`, `/sys`, `/dev` or a tmpfs, which no image contains. A changed file whose name
is not UTF-8 is not recognised as changed, because engines list changes as JSON.

An exported file is reported when a file of the same name with the suffix ``-wal`` or ``-journal`` is beside it, is not
empty, and is not exported: without it SQLite loses the last transactions (https://www.sqlite.org/wal.html).
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
"""Links whose targets are looked up; further ones are only counted."""

_SHOWN = 5
_SIDECARS = ("-wal", "-journal")


@dataclass(frozen=True)
class LeftBehind:
    """A file or directory that is left behind (``needed``), and the exported ``path`` that needs it."""

    path: str
    needed: str


@dataclass(frozen=True)
class LeftBehindFiles:
    """All files left behind; ``unchecked`` is the number of outward links beyond `MAX_LINKS`."""

    targets: Sequence[LeftBehind] = ()
    sidecars: Sequence[LeftBehind] = ()
    unchecked: int = 0

    def messages(self) -> Iterator[str]:
        """Yield a message for each kind, with counts and a few examples."""
        if self.targets:
            shown = ", ".join(f"{paths.encode(it.path)} -> {paths.encode(it.needed)}" for it in self.targets[:_SHOWN])
            links = units.counted(len(self.targets), "exported symbolic link")
            yield f"left behind, as they are not exported: the targets of {links}: {shown}"
        if self.unchecked:
            links = units.counted(self.unchecked, "more symbolic link")
            yield f"targets not checked of {links} that lead out of the exported paths"
        if self.sidecars:
            shown = ", ".join(paths.encode(it.needed) for it in self.sidecars[:_SHOWN])
            databases = units.counted(len(self.sidecars), "exported database")
            yield f"the last transactions of {databases} are left behind, as these journals are not exported: {shown}"


@dataclass
class Needs:
    """Collects, while the exports are read, the entries that may need files outside of the exports."""

    exports: frozenset[str]
    _links: list[Entry] = field(default_factory=list)
    _unchecked: int = 0
    _files: list[str] = field(default_factory=list)

    def saw(self, entry: Entry) -> None:
        """Record one entry of the state."""
        if entry.kind is Kind.SYMLINK and not paths.top_of(paths.absolute(entry.target, entry.path), self.exports):
            if len(self._links) < MAX_LINKS:
                self._links.append(entry)
            else:
                self._unchecked += 1
        elif entry.kind in (Kind.FILE, Kind.HARD_LINK) and entry.path in self.exports:
            self._files.append(entry.path)

    def find(self, container: Container, base: Image, engine: Engine, reader: Reader) -> LeftBehindFiles:
        """Find the files that are left behind; no stream of the container may be open."""
        needed = {link.path: _needed(link, self.exports, container, reader) for link in self._links}
        kept = _kept({path for outside in needed.values() for path in outside}, self.exports, container, base, engine)
        lost = {link: [path for path in outside if path not in kept] for link, outside in needed.items()}
        targets = [LeftBehind(link, outside[-1]) for link, outside in lost.items() if outside]
        sidecars = [
            LeftBehind(file, beside)
            for file in self._files
            for beside in (file + suffix for suffix in _SIDECARS)
            if not paths.top_of(beside, self.exports) and reader.stat(beside) and engine.size(container, beside)
        ]
        return LeftBehindFiles(targets, sidecars, self._unchecked)


def _needed(link: Entry, exports: Collection[str], container: Container, reader: Reader) -> list[str]:
    """Return the paths outside of the exports on the way from a link to its target, target last; none for a dangling link."""
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
            return [path for path in passed if not paths.top_of(path, exports) and not _is_never_in_images(path, container)]
        target = info.link_target
    return []


def _is_never_in_images(path: str, container: Container) -> bool:
    """Whether images never contain a path: the engine creates it for each container, or it is in memory."""
    return path in ENGINE_FILES or "/" + path.split("/")[1] in paths.FORBIDDEN or on_tmpfs(container, path)


def _kept(needed: Collection[str], exports: Collection[str], container: Container, base: Image, engine: Engine) -> set[str]:
    """Return the paths that are as in the clean base, so that a new image has them, too."""
    if not needed:
        return set()
    changes = _Changes(engine.changes(container), exports, container)
    kept = {path for path in needed if not changes.concern(path)}
    if engine.image(container.image_id).diff_ids == base.diff_ids:
        return kept
    with engine.created(base) as clean:  # files of an applied bundle are in the container's image, but not in the clean base
        base_reader = engine.reader(clean, "api")
        return {path for path in kept if base_reader.stat(path) is not None}


class _Changes:
    """The differences from the container's image outside of the exports."""

    def __init__(self, changes: dict[str, str], exports: Collection[str], container: Container) -> None:
        # A directory counts as changed when an entry in it is. A bundle contains the directories above its exports.
        parents = _above(path for path, change in changes.items() if change != "deleted")
        in_bundle = _above((*exports, *ENGINE_FILES))
        self._changed = {
            path
            for path, change in changes.items()
            if change != "deleted"
            and path not in in_bundle
            and not (change == "changed" and path in parents)
            and not paths.top_of(path, exports)
            and not _is_never_in_images(path, container)
        }
        self._mounts = [path for path, kind in container.mounts.items() if kind != "tmpfs" and not paths.top_of(path, exports)]
        self._parents = _above((*self._changed, *self._mounts))

    def concern(self, path: str) -> bool:
        """Whether an entry at or below a path differs from the image."""
        inside = path in self._changed or path in self._parents or any(paths.is_within(path, mount) for mount in self._mounts)
        return inside or (path == "/" and bool(self._changed or self._mounts))


def _above(below: Iterable[str]) -> set[str]:
    return {directory for path in below for directory in paths.ancestors(path)}
