"""Diff: compare the files of two bundles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from bundler.bundle import Bundle
from bundler.format import paths
from bundler.format.content import Digest
from bundler.format.tar import Entry
from bundler.ports import Store
from bundler.streams import Progress
from bundler.verbs import listing
from bundler.verbs.listing import Node


class Change(Enum):
    """How a path changed from the old bundle to the new one."""

    ADDED = "added"
    REMOVED = "removed"
    CONTENT = "content"
    METADATA = "metadata"
    DELETED = "deleted"
    """The new bundle deletes a path of the base; the old one keeps it."""
    RESTORED = "restored"
    """The old bundle deletes a path of the base; the new one keeps it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A path at which two bundles differ; where both have an entry, ``fields`` names the differences."""

    change: Change
    old: Node | None
    new: Node | None
    fields: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        node = self.new or self.old
        assert node, "at least one bundle has the path"
        return node.path


@dataclass(slots=True)
class Total:
    """The number of paths with one kind of change, and their bytes of content before and after."""

    paths: int = 0
    old_size: int = 0
    new_size: int = 0

    def add(self, difference: Difference) -> None:
        self.paths += 1
        self.old_size += difference.old.size if difference.old else 0
        self.new_size += difference.new.size if difference.new else 0


def find(old: Bundle, old_store: Store, new: Bundle, new_store: Store, progress: Progress) -> Iterator[Difference]:
    """Yield the differences of two bundles in walking order; layers that are the same blob in both are not read."""
    both = _in_both(old, new)
    return compare(listing.tree(old, old_store, progress, both), listing.tree(new, new_store, progress, both))


def compare(olds: Iterable[Node], news: Iterable[Node]) -> Iterator[Difference]:
    """Yield the differences of two trees in walking order, holding one node of each in memory."""
    left, right = iter(olds), iter(news)
    old, new = next(left, None), next(right, None)
    while old or new:
        if not new or (old and paths.sort_key(old.path) < paths.sort_key(new.path)):
            yield Difference(Change.REMOVED if old and old.entry else Change.RESTORED, old, None)
            old = next(left, None)
        elif not old or old.path != new.path:
            yield Difference(Change.ADDED if new.entry else Change.DELETED, None, new)
            new = next(right, None)
        else:
            yield from _between(old, new)
            old, new = next(left, None), next(right, None)


def _between(old: Node, new: Node) -> Iterator[Difference]:
    """Yield the difference at one path, if any."""
    if not (old.entry and new.entry):
        if old.entry or new.entry:
            yield Difference(Change.ADDED if new.entry else Change.REMOVED, old, new)
    elif old.entry.kind is not new.entry.kind:
        yield Difference(Change.CONTENT, old, new, ("type",))
    else:
        changed = ("content",) if old.digest != new.digest else ()
        if fields := changed + _metadata(old.entry, new.entry):
            yield Difference(Change.CONTENT if changed else Change.METADATA, old, new, fields)


def _metadata(old: Entry, new: Entry) -> tuple[str, ...]:
    pairs = {
        "mode": (old.mode, new.mode),
        "owner": ((old.uid, old.gid), (new.uid, new.gid)),
        "time": ((old.mtime, old.nanoseconds), (new.mtime, new.nanoseconds)),
        "target": (old.target, new.target),
        "attributes": ((old.capability, old.xattrs), (new.capability, new.xattrs)),
    }
    return tuple(name for name, (was, is_now) in pairs.items() if was != is_now)


def _in_both(old: Bundle, new: Bundle) -> frozenset[Digest]:
    """Return the blobs of layers that mean the same in both; exports decide which entries are state and which are above it.

    A diff ID alone is not enough: the metadata states it, and another blob may have other content.
    """
    if _tops(old) != _tops(new):
        return frozenset()
    return frozenset(blob for blob, _ in _blobs(old).items() & _blobs(new).items())


def _blobs(bundle: Bundle) -> Mapping[Digest, Digest]:
    """The diff ID of each layer by the digest of its blob."""
    layers = zip(bundle.manifest.layers, bundle.metadata.layers, strict=True)
    return {blob.digest: layer.diff_id for blob, layer in layers}


def _tops(bundle: Bundle) -> list[str]:
    return paths.merge(paths.decode(export.resolved) for export in bundle.metadata.exports)
