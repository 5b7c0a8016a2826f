"""What differs between the files of two bundles."""

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
    """What became of a path from the old bundle to the new one."""

    ADDED = "added"
    REMOVED = "removed"
    CONTENT = "content"
    METADATA = "metadata"
    DELETED = "deleted"
    """The new one deletes what the base has there, of which the old one says nothing."""
    RESTORED = "restored"
    """The old one deletes what the base has there, of which the new one says nothing."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A path at which two bundles differ, and for two entries in which ``fields``."""

    change: Change
    old: Node | None
    new: Node | None
    fields: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        node = self.new or self.old
        assert node, "something differs from something"
        return node.path


@dataclass(slots=True)
class Total:
    """How many paths changed in one way, and how many bytes of content they had and have."""

    paths: int = 0
    old_size: int = 0
    new_size: int = 0

    def add(self, difference: Difference) -> None:
        self.paths += 1
        self.old_size += difference.old.size if difference.old else 0
        self.new_size += difference.new.size if difference.new else 0


def find(old: Bundle, old_store: Store, new: Bundle, new_store: Store, progress: Progress) -> Iterator[Difference]:
    """What differs between two bundles, in walking order; layers that both have as the same blob are not read."""
    both = _in_both(old, new)
    return compare(listing.tree(old, old_store, progress, both), listing.tree(new, new_store, progress, both))


def compare(olds: Iterable[Node], news: Iterable[Node]) -> Iterator[Difference]:
    """What differs between two trees that come in walking order, of which no more is held than a node of each."""
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
    """What differs at one path."""
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
    """The blobs of layers that say the same in both: what is state and what is above it, the exports decide.

    A diff ID alone is not enough: it stands in the metadata, and another blob may have another content.
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
