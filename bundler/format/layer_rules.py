"""What the layers of a bundle hold together, judged entry by entry while they pass.

A layer comes in one order, parents first and siblings by their bytes (docs/spec/format.md, "Layers"), so that a name
that comes twice, or one that is reached through a link, is out of order or without its directory. That takes no
memory but the open directories, and some bytes for each file that a hard link could mean.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from bundler.errors import IntegrityError
from bundler.format import entry_rules, metadata, paths, tar, units
from bundler.format.tar import Entry, Kind

MAX_ENTRIES = 10_000_000
"""Most entries of a bundle."""
MAX_OWN = 200_000
"""Most entries of all layers but the last, which hold one file each, its hard links, and the directories above."""


@dataclass
class _Total:
    """What was found of one export."""

    entries: int = 0
    size: int = 0
    kind: str = ""


@dataclass(frozen=True)
class _Rights:
    """What makes a directory or a file somebody's."""

    mode: int
    uid: int
    gid: int
    capability: bytes

    @classmethod
    def of(cls, entry: Entry) -> _Rights:
        return cls(entry.mode, entry.uid, entry.gid, entry.capability)


class Contents:
    """The entries of all layers of a bundle; `judge` gives what is wrong with one, or an empty text.

    `begin` comes before the entries of each layer and `end` after them, `finish` after the last layer. All raise
    `IntegrityError`.
    """

    def __init__(self, described: metadata.Metadata, where: str) -> None:
        self._described = described
        self._where = where
        self._tops = frozenset(paths.merge(paths.decode(export.resolved) for export in described.exports))
        self._parents = {paths.decode(parent.path): _ancestor(parent) for parent in described.parents}
        self._privileged = frozenset(map(paths.decode, described.privileged))
        self._totals = {top: _Total() for top in self._tops}
        self._own: dict[int, _Rights | None] = {}  # of the layers but the last: directories by their rights, None for all else
        self._entries = 0
        self._layer: metadata.Layer | None = None
        self.privileged: dict[str, Entry] = {}
        """The files that give rights to whoever runs them."""
        self.unkept = 0
        """How many entries an engine would change without an error."""
        self.first_unkept = ""

    def begin(self, number: int) -> None:
        """A layer follows, the first one with number 0."""
        self._layer = self._described.layers[number]
        self._is_last = number == len(self._described.layers) - 1
        self._exports: list[str] = []
        self._open: list[tuple[str, str]] = []  # the directories that the last entry lay in, each with its export
        self._above: set[str] = set()  # the directories above the exports that have been met
        self._previous: tuple[bytes, ...] = ()
        self._files = array("q")
        self._linked: set[int] = set()
        self._removed = list(map(paths.decode, self._described.removed)) if self._is_last else []
        self._gone = ""
        self._next_gone = self._next_whiteout = 0
        self._at_whiteouts = False

    def judge(self, entry: Entry) -> str:
        self._entries += 1
        if self._entries > MAX_ENTRIES or (not self._is_last and self._entries > MAX_OWN):
            return "which is one more than a bundle may have"
        if found := entry_rules.fault(entry):
            return found
        if why := entry_rules.unkept(entry):
            self.first_unkept = self.first_unkept or f"{paths.encode(entry.path)[:500]!r} {why}"
            self.unkept += 1
        gone = entry_rules.deleted(entry)
        if gone is not None:
            return self._whiteout(gone)
        if self._is_above_whiteout(entry):
            return self._above_whiteout(entry)
        return self._order(entry) or self._place(entry) or self._twice(entry)

    def end(self) -> None:
        """Look whether all is there that the layer should hold."""
        assert self._layer is not None, "`begin` comes first"
        self._pass(None)
        if self._next_whiteout != len(self._removed):
            raise self._refused(f"lacks the whiteout of {paths.encode(self._removed[self._next_whiteout])!r}")
        if self._linked.difference(self._files):
            raise self._refused("has a hard link to what is no file in it")
        if tuple(map(paths.encode, self._exports)) != self._layer.exports:
            raise self._refused("holds other exports than the metadata says")
        if not self._is_last and len(self._files) != 1:
            raise self._refused(f"holds {units.counted(len(self._files), 'file')}, where every layer but the last has one")

    def finish(self) -> None:
        """Look whether all is there that the metadata promises."""
        if any(self._own.values()):
            raise self._refused("does not hold a directory of the state that stands above entries of another layer")
        if missing := self._privileged - self.privileged.keys():
            raise self._refused(f"does not hold the privileged file {paths.encode(min(missing))!r}, and no other does")
        for export in self._described.exports:
            total = self._totals[self._top(paths.decode(export.resolved))]
            if (export.entries, export.size, export.kind) != (total.entries, total.size, total.kind):
                entries = units.counted(total.entries, "entry", "entries")
                found = f"{entries} of {total.size} bytes, itself a {total.kind or 'missing entry'}"
                raise self._refused(f"is the last one, and {export.resolved!r} has {found}, not what the metadata says")

    def _refused(self, why: str) -> IntegrityError:
        layer = f"the layer {self._layer.diff_id}" if self._layer else "the bundle, which has no layer,"
        return IntegrityError(f"{self._where}: {layer} {why}")

    def _order(self, entry: Entry) -> str:
        """Whether an entry stands where a walk would meet it, in a directory that has been met."""
        if self._at_whiteouts:
            return "which comes after the whiteouts"
        key = paths.sort_key(entry.path)
        if key <= self._previous:
            return "which comes a second time or out of order"
        self._previous = key
        if found := self._pass(entry.path):
            return found
        self._close(entry.path)
        directory = entry.path.rpartition("/")[0]
        if directory != (self._open[-1][0] if self._open else ""):
            return "without the directory that it lies in"
        return ""

    def _close(self, path: str) -> None:
        """Leave the directories that a path does not lie in."""
        while self._open and not path.startswith(self._open[-1][0] + "/"):
            self._open.pop()

    def _place(self, entry: Entry) -> str:
        """Whether an entry lies in an export, or is a directory above one as the metadata has it."""
        top = self._open[-1][1] if self._open else ""
        if entry.path in self._tops:
            top = entry.path
        if entry.kind is Kind.DIRECTORY:
            self._open.append((entry.path, top))
        if not top:
            self._above.add(entry.path)
            return "" if entry == self._parents.get(entry.path) else "outside of the exported paths"
        if entry.kind is Kind.DIRECTORY and not self._is_last:
            return "" if _is_bare(entry) else "a directory with a time or attributes, which only the last layer has"
        return self._counted(entry, top)

    def _counted(self, entry: Entry, top: str) -> str:
        if self._exports[-1:] != [top]:
            self._exports.append(top)
        total = self._totals[top]
        total.entries += 1
        total.size += entry.size
        if entry.path == top:
            total.kind = entry.kind.name.lower()
        if entry.kind is Kind.FILE or (entry.kind is Kind.SYMLINK and self._is_last):
            self._files.append(hash(entry.path))
        elif entry.kind is Kind.SYMLINK:
            return "a symbolic link, which only the last layer has"
        elif entry.kind is Kind.HARD_LINK:
            return self._link(entry, top)
        return self._rights(entry, entry.path)

    def _link(self, entry: Entry, top: str) -> str:
        if not paths.is_within(entry.target, top) or paths.sort_key(entry.target) >= self._previous:
            return "a hard link to what does not come before it in its export"
        self._linked.add(hash(entry.target))
        return self._rights(entry, entry.target)

    def _rights(self, entry: Entry, path: str) -> str:
        """Engines give the mode, owner and capability of a hard link's entry to the file that it shares."""
        known = self.privileged.get(path)
        if entry.kind is Kind.HARD_LINK and known:
            return "" if _Rights.of(entry) == _Rights.of(known) else "a hard link that changes what its file may do"
        if entry.kind not in (Kind.FILE, Kind.HARD_LINK) or not tar.is_privileged(entry):
            return ""
        if path not in self._privileged or entry.kind is Kind.HARD_LINK:
            return "a privileged file that the metadata does not list"
        self.privileged[path] = entry
        return ""

    def _twice(self, entry: Entry) -> str:
        """Whether another layer has the same path, which only a directory may, of the same rights."""
        if entry.path in self._parents:
            return ""
        place, rights = hash(entry.path), _Rights.of(entry) if entry.kind is Kind.DIRECTORY else None
        if place in self._own and (rights is None or self._own[place] != rights):
            return "which another layer has otherwise"
        if self._is_last:
            self._own.pop(place, None)
        else:
            self._own[place] = rights
        return ""

    def _pass(self, path: str | None) -> str:
        """Look at the removed paths that a walk would meet before ``path``: each lacks there, in a directory that is there."""
        key = None if path is None else paths.sort_key(path)
        while self._next_gone < len(self._removed):
            gone = self._removed[self._next_gone]
            if key is not None and paths.sort_key(gone) > key:
                break
            self._close(gone)
            is_there = gone in self._tops or gone.rpartition("/")[0] == (self._open[-1][0] if self._open else "")
            if hash(gone) in self._own or not is_there:
                raise self._refused(f"should lack {paths.encode(gone)!r} in a directory that it has")
            self._gone = gone
            self._next_gone += 1
        return "which the metadata says is removed" if path and self._gone and paths.is_within(path, self._gone) else ""

    def _whiteout(self, gone: str) -> str:
        self._pass(None)
        self._at_whiteouts = True
        if gone != self._next_removed():
            return "a whiteout that the metadata does not list, or not at this place"
        self._next_whiteout += 1
        directory = gone.rpartition("/")[0]
        return "without the directory that it lies in" if gone in self._tops and not self._has(directory) else ""

    def _has(self, directory: str) -> bool:
        """Whether a directory above the exports has been met; the root always has."""
        return not directory or directory in self._above

    def _next_removed(self) -> str:
        """The path whose whiteout comes next, or an empty text."""
        return self._removed[self._next_whiteout] if self._next_whiteout < len(self._removed) else ""

    def _is_above_whiteout(self, entry: Entry) -> bool:
        """Whether a directory stands above the whiteout of an export of which nothing was left, and above nothing before it."""
        gone = self._next_removed()
        if gone not in self._tops or not paths.is_within(gone, entry.path) or entry.path not in self._parents:
            return False
        return self._at_whiteouts or paths.sort_key(entry.path) <= self._previous

    def _above_whiteout(self, entry: Entry) -> str:
        self._pass(None)
        self._at_whiteouts = True
        directory = entry.path.rpartition("/")[0]
        if entry.path in self._above or entry != self._parents[entry.path] or not self._has(directory):
            return "which comes a second time, or not as the metadata has it"
        self._above.add(entry.path)
        return ""

    def _top(self, path: str) -> str:
        return next(above for above in (*paths.ancestors(path), path) if above in self._tops)


def _ancestor(parent: metadata.Parent) -> Entry:
    return Entry(paths.decode(parent.path), Kind.DIRECTORY, parent.mode, parent.uid, parent.gid, 0)


def _is_bare(entry: Entry) -> bool:
    return not (entry.mtime or entry.nanoseconds or entry.xattrs)
