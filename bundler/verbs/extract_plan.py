"""Plan an extraction: check every entry of a bundle, choose the wanted ones, and compare them with the target directory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from bundler.bundle import Bundle
from bundler.errors import NotFoundError, PrivilegeError, UsageError
from bundler.format import entry_rules, paths, tar, units
from bundler.format.metadata import Parent
from bundler.format.tar import Entry, Kind
from bundler.format.toc import Item
from bundler.localfs import attributes
from bundler.localfs.attributes import CAPABILITY, Attributes
from bundler.localfs.staging import NAME
from bundler.localfs.walk import Names
from bundler.verbs.extract_comparison import Comparison, State
from bundler.verbs.extract_entries import Entries, StoredLayer
from bundler.verbs.extract_record import Record, Records, zeros
from bundler.verbs.extract_selection import Selection

_SHOWN = 20
_UNIT = 4096
"""Bytes of which a file takes a multiple on most disks, in the estimate of the needed space."""


class Owner(Enum):
    """Which owners files get: the recorded ones, by number, or this user."""

    keep = "keep"
    me = "me"


@dataclass(frozen=True)
class Rules:
    """What the caller allows; the defaults are the strictest."""

    owner: Owner = Owner.keep
    overwrite: bool = False
    delete: bool = False
    allow_privileged: bool = False


@dataclass
class Plan:
    """What an extraction writes and removes; sizes are in bytes."""

    layers: list[tuple[StoredLayer, Records]] = field(default_factory=list)
    """The files, links and symbolic links to write from each layer, in its order."""
    directories: Records = field(default_factory=Records)
    """The directories above and among what is wanted, in walking order."""
    removed: list[Names] = field(default_factory=list)
    files: int = 0
    links: int = 0
    made: int = 0
    """How many directories are new."""
    size: int = 0
    compressed: int = 0
    """Bytes of the frames of the files, as far as a table lists them."""
    space: int = 0
    unchanged: int = 0
    overwritten: int = 0
    updated: int = 0
    """How many existing directories get other attributes."""
    skipped_capabilities: int = 0

    @property
    def has_work(self) -> bool:
        return bool(self.files or self.links or self.made or self.updated or self.removed)


class _Paths:
    """The number of paths with one fault, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, path: str) -> None:
        self.count += 1
        if len(self._first) < _SHOWN:
            self._first.append(path[:500])

    def __str__(self) -> str:
        more = f" and {self.count - len(self._first)} more" if self.count > len(self._first) else ""
        return ", ".join(self._first) + more


def _holes(record: Record) -> int:
    """Return the number of bytes that take no space, as whole chunks of zeros become holes."""
    if len(record.chunks) < 2:
        return 0
    return sum(chunk.size for chunk in record.chunks if chunk.digest == zeros())


def _with_parents(items: Iterable[Item], above: Mapping[str, Parent]) -> Iterator[Item]:
    """Put the directories above the exports, as the metadata has them, between the other items in walking order."""
    pending = deque(sorted(above, key=paths.sort_key))

    def parents(end: str | None) -> Iterator[Item]:
        while pending and (end is None or paths.sort_key(pending[0]) < paths.sort_key(end)):
            path = pending.popleft()
            yield Item(Entry(path, Kind.DIRECTORY, above[path].mode, above[path].uid, above[path].gid, 0))

    for item in items:
        if item.entry.path not in above:
            if pending:
                yield from parents(item.entry.path)
            yield item
    yield from parents(None)


class Planner:
    """Builds the plan of one extraction."""

    def __init__(self, bundle: Bundle, selection: Selection, comparison: Comparison, rules: Rules) -> None:
        self._bundle = bundle
        self._selection = selection
        self._comparison = comparison
        self._rules = rules
        self._may_chown = attributes.has_capability(attributes.CAP_CHOWN)
        self._is_limited = not attributes.has_capability(attributes.CAP_DAC_OVERRIDE)
        self._keeps_capabilities = attributes.has_capability(attributes.CAP_SETFCAP)
        self._groups = {os.getegid(), *os.getgroups()}
        self._needed: set[str] = set()  # directories above wanted files of the layers but the last
        self._first_links: dict[str, str] = {}  # files that are not wanted, with the first wanted hard link to each
        self._other, self._blocked, self._foreign, self._unowned, self._privileged = (_Paths() for _ in range(5))
        self._has_hidden = False  # whether a wanted path is behind a link or file
        self.plan = Plan()

    def read(self, entries: Entries) -> Plan:
        """Check all entries, and plan the wanted ones.

        Raises `IntegrityError` for an invalid bundle, `NotFoundError` for a path that matches nothing, `PrivilegeError`, and
        `UsageError` for what is in the way.
        """
        if self._selection.is_partial:
            for _, items in entries.checked():
                self._note_links(items)
            each: Iterable[tuple[StoredLayer, Iterator[Item]]] = ((it, entries.items(it)) for it in entries.layers)
        else:
            each = entries.checked()
        for layer, items in each:
            records = Records()
            self.plan.layers.append((layer, records))
            if layer is entries.layers[-1]:
                self._plan_last(items, records)
            else:
                self._plan_early(items, records)
        self._plan_removed()
        self._refuse(entries.where)
        return self.plan

    def _note_links(self, items: Iterable[Item]) -> None:
        """Note which files that are not wanted have wanted hard links, as the first of these becomes the file."""
        for item in items:
            entry = item.entry
            if entry.kind is Kind.HARD_LINK and self._selection.wants(entry.path) and not self._selection.wants(entry.target):
                self._first_links.setdefault(entry.target, entry.path)

    def _plan_early(self, items: Iterable[Item], records: Records) -> None:
        """Plan one of the layers but the last; the valid entries of its directories are in the last one."""
        for item in items:
            if item.entry.kind is not Kind.DIRECTORY and (path := self._plan_item(item, records)):
                self._needed.update(paths.ancestors(path))

    def _plan_last(self, items: Iterable[Item], records: Records) -> None:
        above = {paths.decode(it.path): it for it in self._bundle.metadata.parents}
        waiting: deque[Entry] = deque()  # the directories at and above the last path that are not planned yet
        for item in _with_parents(items, above):
            path = item.entry.path
            while waiting and not paths.is_within(path, waiting[-1].path):
                waiting.pop()
            if item.entry.kind is Kind.DIRECTORY:
                waiting.append(item.entry)
                is_planned = path in self._needed or (path not in above and self._selection.wants(path))
                planned = path if is_planned else ""
            else:
                planned = self._plan_item(item, records)
                if planned and planned != path:
                    self._needed.update(paths.ancestors(planned))
            while planned and waiting and paths.is_within(planned, waiting[0].path):
                directory = waiting.popleft()
                self._plan_directory(directory, is_above=directory.path in above)

    def _plan_item(self, item: Item, records: Records) -> str:
        """Plan a file or link; return the path under which it is written, an empty text when it is not wanted."""
        entry, link = item.entry, ""
        if entry_rules.deleted(entry) is not None:
            return ""
        path = entry.path if self._selection.wants(entry.path) else self._first_links.get(entry.path, "")
        if path and entry.kind is Kind.HARD_LINK:
            link = self._first_links.get(entry.target, entry.target)
        if not path or path == link:
            return ""  # not wanted, or planned as the file
        if entry.kind is Kind.FILE and tar.is_privileged(entry):
            self._privileged.add(paths.encode(path))
        record = Record(
            source=entry.path,
            names=self._names(path),
            kind=entry.kind,
            attributes=self._attributes(entry),
            size=entry.size,
            target=paths.to_bytes(entry.target) if entry.kind is Kind.SYMLINK else b"",
            link=self._names(link) if link else (),
            chunks=item.chunks,
            end=item.end,
        )
        self._decide(record, path, records)
        return path

    def _decide(self, record: Record, path: str, records: Records) -> None:
        """Compare a file or link with what lies in the target directory, and plan it unless it is there already."""
        plan, state = self.plan, self._comparison.state(record)
        if state is State.SAME:
            plan.unchanged += 1
        if state is State.SAME or self._is_blocked(state, path):
            return
        if state is State.OTHER:
            plan.overwritten += 1
            self._other.add(paths.encode(path))
        if record.kind is Kind.HARD_LINK:
            record = replace(record, inode=self._comparison.inode(record.link))
        self._check_owner(record, path)
        records.add(record)
        plan.files += record.kind is Kind.FILE
        plan.links += record.kind is not Kind.FILE
        plan.size += record.size
        plan.compressed += record.end - record.chunks[0].offset if record.end else 0
        plan.space += record.size + -record.size % _UNIT + _UNIT - _holes(record)

    def _plan_directory(self, entry: Entry, *, is_above: bool) -> None:
        """Plan a directory; one that exists is changed only when it is wanted itself and may be overwritten."""
        names = self._selection.place(entry.path, is_directory=True)
        if names is None:
            return
        kept = self._attributes(entry)
        if is_above:
            kept = replace(kept, mtime_ns=None)  # the metadata has no time of it
        record = Record(entry.path, names, Kind.DIRECTORY, kept)
        state = self._comparison.state(record)
        if self._is_blocked(state, entry.path):
            return
        if state is State.MISSING:
            self._check_owner(record, entry.path)
            self.plan.made += 1
            self.plan.space += _UNIT
            self.plan.directories.add(replace(record, is_new=True, late=self._is_limited and kept.mode & 0o700 != 0o700))
        elif self._rules.overwrite and not is_above and self._selection.wants(entry.path):
            self.plan.updated += state is State.OTHER
            self.plan.directories.add(replace(record, late=True))

    def _plan_removed(self) -> None:
        """Plan what the model deleted, and is in the target directory."""
        for path in map(paths.decode, self._bundle.metadata.removed if self._rules.delete else ()):
            if self._selection.wants(path) and self._comparison.exists(names := self._names(path)):
                self.plan.removed.append(names)

    def _names(self, path: str) -> Names:
        names = self._selection.place(path, is_directory=False)
        assert names, "only a directory has no name"
        if names[0] == NAME:
            raise UsageError(
                f"{paths.encode(path)!r} has the name of the hidden directory that fps-bundle uses", hint="Leave it out, by PATH."
            )
        return names

    def _attributes(self, entry: Entry) -> Attributes:
        uid, gid = (entry.uid, entry.gid) if self._rules.owner is Owner.keep else (os.geteuid(), os.getegid())
        xattrs = entry.xattrs
        if entry.capability and self._keeps_capabilities:
            xattrs = (*xattrs, (CAPABILITY, entry.capability))
        elif entry.capability and entry.kind is Kind.FILE:
            self.plan.skipped_capabilities += 1
        return Attributes(entry.mode, uid, gid, entry.mtime * 10**9 + entry.nanoseconds, xattrs)

    def _check_owner(self, record: Record, path: str) -> None:
        kept = record.attributes
        if not self._may_chown and (kept.uid != os.geteuid() or kept.gid not in self._groups):
            self._unowned.add(f"{paths.encode(path)} ({kept.uid}:{kept.gid})")

    def _is_blocked(self, state: State, path: str) -> bool:
        faults = {State.BLOCKED: self._blocked, State.FOREIGN: self._foreign}.get(state)
        if faults:
            faults.add(paths.encode(path))
        self._has_hidden = self._has_hidden or state is State.BEHIND
        return faults is not None or state is State.BEHIND

    def _refuse(self, where: str) -> None:
        """Raise the first reason not to write anything."""
        if unmatched := self._selection.unmatched():
            deleted = " Paths that the model deleted count only with --delete." if self._bundle.metadata.removed else ""
            raise NotFoundError(
                f"{where}: nothing in the bundle matches {', '.join(map(repr, unmatched))}",
                hint=f"List the files: fps-bundle inspect --files {where}.{deleted}",
            )
        if self._privileged.count and not self._rules.allow_privileged:
            raise PrivilegeError(
                f"{units.counted(self._privileged.count, 'file')} with setuid, setgid or a capability: {self._privileged}",
                hint="If this host needs these files, use --allow-privileged.",
            )
        if self._blocked.count or self._has_hidden:
            raise UsageError(
                f"a file or link is in the place of a directory, or a directory in the place of a file: {self._blocked}",
                hint="Move it away, or extract into another directory. Links are not followed, and directories not replaced.",
            )
        if self._foreign.count:
            raise UsageError(
                f"directories of another file system lie below the target directory: {self._foreign}",
                hint="Extract what belongs there in a run for that directory, with PATH and --strip.",
            )
        if self._other.count and not self._rules.overwrite:
            raise UsageError(
                f"{units.counted(self._other.count, 'file')} of the target directory would be replaced: {self._other}",
                hint="To replace them, use --overwrite.",
            )
        if self._unowned.count:
            owners = units.counted(self._unowned.count, "owner")
            raise UsageError(
                f"this user cannot set {owners}: {self._unowned}", hint="Run as root, or give all files to this user: --owner me."
            )
