"""Rules for the layers of a bundle together, checked entry by entry while they are read.

Entries are ordered: parents first, siblings by their bytes (docs/spec/format.md, "Layers"). So a repeated path is out of
order, and a path through a link has no directory. Memory is needed only for the open directories, and for some bytes for
each file that can be the target of a hard link.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence, Set
from dataclasses import dataclass

from bundler.format import entry_rules, metadata, paths, tar, units
from bundler.format.faults import Fault, FaultCode, shown
from bundler.format.tar import Entry, Kind

MAX_ENTRIES = 10_000_000
"""Most entries of a bundle."""
MAX_OWN = 200_000
"""Most entries of all layers but the last, which hold one file each, its hard links, and the directories above."""


class _Walk:
    """The position of a walk: the sort key of its last path, and the directories that are open."""

    def __init__(self) -> None:
        self.key: tuple[bytes, ...] = ()
        self.directory = ""
        """The innermost open directory; empty for the root."""
        self.export = ""
        """The export that holds the innermost open directory; empty above the exports."""
        self._outer: list[tuple[str, str]] = []  # the other open directories, each with its export

    def enter(self, directory: str, export: str) -> None:
        self._outer.append((self.directory, self.export))
        self.directory, self.export = directory, export

    def leave_for(self, path: str) -> None:
        """Close the directories that do not hold a path."""
        while self._outer and not path.startswith(self.directory + "/"):
            self.directory, self.export = self._outer.pop()


class _RemovedPaths:
    """The removed paths of the metadata in one layer: the walk must not meet them, and whiteouts list them in order."""

    def __init__(self, removed: Sequence[str]) -> None:
        self._removed = removed
        self._keys = [paths.sort_key(path) for path in removed]
        self._next_absent = self._next_whiteout = 0
        self.last_absent = ""
        """The removed path that the walk has passed last."""
        self.next_whiteout = removed[0] if removed else ""
        """The path that must have the next whiteout, or an empty text."""

    def absent_before(self, key: tuple[bytes, ...] | None) -> Sequence[str]:
        """The paths that a walk to ``key`` passes now, all that are left where it is None."""
        start = self._next_absent
        while self._next_absent < len(self._keys) and (key is None or self._keys[self._next_absent] <= key):
            self.last_absent = self._removed[self._next_absent]
            self._next_absent += 1
        return self._removed[start : self._next_absent]

    def take_whiteout(self, path: str) -> bool:
        """Count the whiteout of a path; False where it is not the next one."""
        if path != self.next_whiteout:
            return False
        self._next_whiteout += 1
        is_end = self._next_whiteout == len(self._removed)
        self.next_whiteout = "" if is_end else self._removed[self._next_whiteout]
        return True


class _HardLinks:
    """The files and symbolic links of one layer, and the targets of its hard links, as hashes of their paths."""

    def __init__(self) -> None:
        self._files = array("q")
        self._targets: set[int] = set()

    @property
    def files(self) -> int:
        return len(self._files)

    def add_file(self, path: str) -> None:
        self._files.append(hash(path))

    def add_target(self, path: str) -> None:
        self._targets.add(hash(path))

    def has_missing_target(self) -> bool:
        return bool(self._targets.difference(self._files))


@dataclass(frozen=True)
class _Rights:
    """The mode, owner and capability of a directory or file."""

    mode: int
    uid: int
    gid: int
    capability: bytes

    @classmethod
    def of(cls, entry: Entry) -> _Rights:
        return cls(entry.mode, entry.uid, entry.gid, entry.capability)


class _PrivilegedFiles:
    """The files with setuid, setgid or a capability; the metadata lists each, and hard links must not change their rights."""

    def __init__(self, listed: Set[str]) -> None:
        self._listed = listed
        self.entries: dict[str, Entry] = {}

    def add(self, entry: Entry, path: str) -> FaultCode | None:
        """Check the rights that an entry gives to the file at ``path``: engines apply a hard link's rights to its target."""
        known = self.entries.get(path) if self.entries else None
        if known and entry.kind is Kind.HARD_LINK:
            return None if _Rights.of(entry) == _Rights.of(known) else FaultCode.LINK_RIGHTS
        if entry.kind not in (Kind.FILE, Kind.HARD_LINK) or not tar.is_privileged(entry):
            return None
        if path not in self._listed or entry.kind is Kind.HARD_LINK:
            return FaultCode.UNLISTED_PRIVILEGED
        self.entries[path] = entry
        return None

    def missing(self) -> str:
        """A listed path that no layer holds as a privileged file, or an empty text."""
        return min(self._listed - self.entries.keys(), default="")


class _EarlyPaths:
    """The paths of all layers but the last, which other layers repeat only as directories of the same rights."""

    def __init__(self) -> None:
        self._rights: dict[int, _Rights | None] = {}  # by the hash of the path; None for what is not a directory

    def __contains__(self, path: str) -> bool:
        return hash(path) in self._rights

    def add(self, entry: Entry, *, is_last: bool) -> FaultCode | None:
        if is_last and not self._rights:
            return None
        place, rights = hash(entry.path), _Rights.of(entry) if entry.kind is Kind.DIRECTORY else None
        if place in self._rights and (rights is None or self._rights[place] != rights):
            return FaultCode.OTHER_LAYER
        if is_last:
            self._rights.pop(place, None)
        else:
            self._rights[place] = rights
        return None

    def has_open_directory(self) -> bool:
        """Whether the last layer lacks one of the directories."""
        return any(self._rights.values())


@dataclass
class _Total:
    """The entries, bytes and kind of one export, over all layers."""

    entries: int = 0
    size: int = 0
    kind: str = ""

    def add(self, entry: Entry, *, is_top: bool) -> None:
        self.entries += 1
        self.size += entry.size
        if is_top:
            self.kind = entry.kind.name.lower()


class _Layer:
    """The state of one layer while it is read."""

    def __init__(self, description: metadata.Layer, removed: Sequence[str], *, is_last: bool) -> None:
        self.description = description
        self.is_last = is_last
        self.walk = _Walk()
        self.removed = _RemovedPaths(removed)
        self.has_removed = bool(removed)
        self.links = _HardLinks()
        self.exports: list[str] = []
        self.above: set[str] = set()  # the directories above the exports that have been met
        self.is_at_whiteouts = False

    def has_above(self, directory: str) -> bool:
        """Whether a directory above the exports has been met; the root always has."""
        return not directory or directory in self.above


class LayerChecker:
    """Check the entries of all layers of a bundle against each other and the metadata.

    Call `begin_layer`, `check` for each entry and `end_layer` for every layer in order, then `finish`.
    """

    def __init__(self, described: metadata.Metadata) -> None:
        self._described = described
        self._tops = frozenset(paths.merge(paths.decode(export.resolved) for export in described.exports))
        self._parents = {paths.decode(parent.path): _parent_entry(parent) for parent in described.parents}
        self._totals = {top: _Total() for top in self._tops}
        self._early = _EarlyPaths()
        self._privileged = _PrivilegedFiles(frozenset(map(paths.decode, described.privileged)))
        self._entries = 0
        self._layer: _Layer | None = None
        self.unkept = 0
        """How many entries an engine changes without an error."""
        self.first_unkept = ""

    @property
    def privileged(self) -> list[Entry]:
        """The files with setuid, setgid or a capability."""
        return list(self._privileged.entries.values())

    def begin_layer(self, number: int) -> None:
        """Start a layer; the first one has number 0."""
        is_last = number == len(self._described.layers) - 1
        removed = list(map(paths.decode, self._described.removed)) if is_last else []
        self._layer = _Layer(self._described.layers[number], removed, is_last=is_last)

    def check(self, entry: Entry) -> Fault | None:
        """Return the rule that the next entry of the layer breaks."""
        layer = self._layer
        assert layer is not None, "`begin_layer` comes first"
        self._entries += 1
        if self._entries > MAX_ENTRIES or (self._entries > MAX_OWN and not layer.is_last):
            return Fault.at(entry.path, FaultCode.ENTRY_LIMIT)
        if fault := entry_rules.fault(entry):
            return fault
        if why := entry_rules.unkept(entry):
            self.first_unkept = self.first_unkept or f"{paths.encode(entry.path)[:500]!r} {why}"
            self.unkept += 1
        deleted = entry_rules.deleted(entry)
        if deleted is not None:
            return self._check_whiteout(layer, entry, deleted)
        if layer.removed.next_whiteout in self._tops and self._is_above_whiteout(layer, entry):
            return self._check_above_whiteout(layer, entry)
        if fault := self._check_order(layer, entry):
            return fault
        code = self._check_place(layer, entry)
        if not code and entry.path not in self._parents:
            code = self._early.add(entry, is_last=layer.is_last)
        return Fault.at(entry.path, code) if code else None

    def end_layer(self) -> Fault | None:
        """Return the rule that the layer as a whole breaks."""
        layer = self._layer
        assert layer is not None, "`begin_layer` comes first"
        subject = _subject(layer)
        if fault := self._pass_removed(layer, None):
            return fault
        if missing := layer.removed.next_whiteout:
            return Fault.of(subject, FaultCode.MISSING_WHITEOUT, shown(missing))
        if layer.links.has_missing_target():
            return Fault.of(subject, FaultCode.LINK_TO_NO_FILE)
        if tuple(map(paths.encode, layer.exports)) != layer.description.exports:
            return Fault.of(subject, FaultCode.EXPORTS)
        if not layer.is_last and layer.links.files != 1:
            return Fault.of(subject, FaultCode.FILE_COUNT, units.counted(layer.links.files, "file"))
        return None

    def finish(self) -> Fault | None:
        """Return the rule that all layers together break."""
        subject = _subject(self._layer)
        if self._early.has_open_directory():
            return Fault.of(subject, FaultCode.MISSING_DIRECTORY)
        if missing := self._privileged.missing():
            return Fault.of(subject, FaultCode.MISSING_PRIVILEGED, shown(missing))
        for export in self._described.exports:
            total = self._totals[paths.top_of(paths.decode(export.resolved), self._tops)]
            if (export.entries, export.size, export.kind) != (total.entries, total.size, total.kind):
                entries = units.counted(total.entries, "entry", "entries")
                held = f"{entries} of {total.size} bytes, itself a {total.kind or 'missing entry'}"
                return Fault.of(subject, FaultCode.TOTALS, repr(export.resolved), held)
        return None

    def _check_order(self, layer: _Layer, entry: Entry) -> Fault | None:
        """An entry must come in walking order, after its directory."""
        if layer.is_at_whiteouts:
            return Fault.at(entry.path, FaultCode.AFTER_WHITEOUTS)
        walk = layer.walk
        key = paths.sort_key(entry.path)
        if key <= walk.key:
            return Fault.at(entry.path, FaultCode.ORDER)
        walk.key = key
        if layer.has_removed:
            if fault := self._pass_removed(layer, key):
                return fault
            if layer.removed.last_absent and paths.is_within(entry.path, layer.removed.last_absent):
                return Fault.at(entry.path, FaultCode.REMOVED)
        walk.leave_for(entry.path)
        if entry.path.rpartition("/")[0] != walk.directory:
            return Fault.at(entry.path, FaultCode.NO_DIRECTORY)
        return None

    def _check_place(self, layer: _Layer, entry: Entry) -> FaultCode | None:
        """An entry must lie in an export, or be a directory above one that equals the metadata."""
        top = entry.path if entry.path in self._tops else layer.walk.export
        if entry.kind is Kind.DIRECTORY:
            layer.walk.enter(entry.path, top)
        if not top:
            layer.above.add(entry.path)
            return None if entry == self._parents.get(entry.path) else FaultCode.OUTSIDE
        if entry.kind is Kind.DIRECTORY and not layer.is_last:
            return None if _is_undated(entry) else FaultCode.DATED_DIRECTORY
        if layer.exports[-1:] != [top]:
            layer.exports.append(top)
        self._totals[top].add(entry, is_top=entry.path == top)
        return self._check_links(layer, entry, top)

    def _check_links(self, layer: _Layer, entry: Entry, top: str) -> FaultCode | None:
        path = entry.path
        if entry.kind is Kind.FILE or (entry.kind is Kind.SYMLINK and layer.is_last):
            layer.links.add_file(path)
        elif entry.kind is Kind.SYMLINK:
            return FaultCode.EARLY_SYMLINK
        elif entry.kind is Kind.HARD_LINK:
            path = entry.target
            if not paths.is_within(path, top) or paths.sort_key(path) >= layer.walk.key:
                return FaultCode.LINK_TARGET
            layer.links.add_target(path)
        return self._privileged.add(entry, path)

    def _pass_removed(self, layer: _Layer, key: tuple[bytes, ...] | None) -> Fault | None:
        """No layer may hold the removed paths up to ``key``, but the last one must hold the directories of these paths."""
        for path in layer.removed.absent_before(key):
            layer.walk.leave_for(path)
            has_directory = path in self._tops or path.rpartition("/")[0] == layer.walk.directory
            if path in self._early or not has_directory:
                return Fault.of(_subject(layer), FaultCode.NOT_REMOVED, shown(path))
        return None

    def _check_whiteout(self, layer: _Layer, entry: Entry, deleted: str) -> Fault | None:
        layer.is_at_whiteouts = True
        if fault := self._pass_removed(layer, None):
            return fault
        if not layer.removed.take_whiteout(deleted):
            return Fault.at(entry.path, FaultCode.UNLISTED_WHITEOUT)
        if deleted in self._tops and not layer.has_above(deleted.rpartition("/")[0]):
            return Fault.at(entry.path, FaultCode.NO_DIRECTORY)
        return None

    def _is_above_whiteout(self, layer: _Layer, entry: Entry) -> bool:
        """Whether an entry is a directory above the whiteout of an empty export, and above no entry before it."""
        if not paths.is_within(layer.removed.next_whiteout, entry.path) or entry.path not in self._parents:
            return False
        return layer.is_at_whiteouts or paths.sort_key(entry.path) <= layer.walk.key

    def _check_above_whiteout(self, layer: _Layer, entry: Entry) -> Fault | None:
        layer.is_at_whiteouts = True
        if fault := self._pass_removed(layer, None):
            return fault
        is_repeated = entry.path in layer.above
        if is_repeated or entry != self._parents[entry.path] or not layer.has_above(entry.path.rpartition("/")[0]):
            return Fault.at(entry.path, FaultCode.WHITEOUT_PARENT)
        layer.above.add(entry.path)
        return None


def _subject(layer: _Layer | None) -> str:
    return f"the layer {layer.description.diff_id}" if layer else "the bundle without layers"


def _parent_entry(parent: metadata.Parent) -> Entry:
    return Entry(paths.decode(parent.path), Kind.DIRECTORY, parent.mode, parent.uid, parent.gid, 0)


def _is_undated(entry: Entry) -> bool:
    return not (entry.mtime or entry.nanoseconds or entry.xattrs)
