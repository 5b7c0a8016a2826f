"""A layout as a place in which names and bundles can be removed, with the blobs that only they need."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from bundler.errors import BusyError, IntegrityError, NotFoundError, disk_errors
from bundler.format import artifact
from bundler.format.artifact import REF_NAME
from bundler.format.content import Descriptor, Digest
from bundler.format.reference import without_tag
from bundler.localfs import locks
from bundler.localfs.atomic_file import KEPT_SECONDS, is_part, sweep
from bundler.ports import Displaced, Entry, EntryKind, Leftover, Named, Removed, RemovedBundle
from bundler.stores.layout import index
from bundler.stores.layout.store import LayoutStore

UPLOADS = "uploads"
"""Directory of the local store with the records of interrupted uploads; each is a plain file."""

_BLOB = re.compile(r"[0-9a-f]{64}")
_NEXT_SOURCE = re.compile(r"delta-[0-9a-f]{12}")
"""The tag of the bundle that ``push --delta`` keeps in the local store."""


class RemovableLayout(LayoutStore):
    """A layout whose bundles can be removed. While a process writes to it, blobs are not deleted."""

    _repair = "Copy these here again, or delete those of other tools with their tool."

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no other process writes to the layout; if so, it is locked for the block."""
        with self._locked(), disk_errors(self.blobs):
            directory = self._open_blobs()
            try:
                yield locks.attempt(directory)
            finally:
                os.close(directory)

    def busy(self) -> BusyError:
        """Return the error for a layout that another process uses."""
        return BusyError(
            f"another fps-bundle is writing to {self._what}", hint="Wait until it is done, then run the same command again."
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        self.names()  # raises an error for a directory without a layout, in which the lock would create a file
        with self.alone() as alone:
            if not alone:
                raise self.busy()
            yield

    def entries(self) -> Sequence[Entry]:
        from bundler.stores.delta import entries  # slow to import, and needed only here

        found = [entries.read(self, named, self._kind(named.name), self._group(named.name)) for named in self.names()]
        return [entry for entry in found if entry.named.name or entry.kind is not EntryKind.OTHER]  # without referrers

    def find(self, digest: Digest) -> Entry:
        raise NotFoundError(f"{self.where}: no bundle has the digest {digest}", hint="List the bundles: fps-bundle list")

    def removal(self, entries: Sequence[Entry], going: Sequence[Entry], *, sweep: bool) -> LayoutRemoval:
        del entries
        return LayoutRemoval(self, [entry.named for entry in going], sweep=sweep)

    def untag(self, entries: Sequence[Entry]) -> None:
        """Remove tags; a bundle without another name stays in the index by its digest."""
        going = [entry.named for entry in entries]
        others = {item.manifest.digest for item in self.names() if item not in going}
        untagged = {item.manifest.digest: self._without_tag(item) for item in going if item.manifest.digest not in others}
        self._edit(lambda item: item in going, list(untagged.values()))

    def set_tag(self, entry: Entry, tag: str) -> Displaced | None:
        manifest = replace(entry.named.manifest, annotations={})
        with self._locked():
            if all(item.manifest.digest != manifest.digest for item in self.names()):
                raise BusyError(f"{self.where}: another process removed the bundle {manifest.digest} at the same time")
            return self.move_name(tag, manifest)

    def remaining(self, going: Collection[Named]) -> list[Named]:
        """Return the index without these bundles, and without referrers whose subject is gone."""
        others = [item for item in self.names() if item not in going]
        here = {None, *index.subjects(others, self.manifest, self.where)}
        return [item for item in others if item.name or self._subject(item.manifest) in here]

    def keep(self, stays: Collection[Named]) -> None:
        """Remove all other entries from the index; the caller must hold its lock."""
        self._edit(lambda item: item not in stays)

    def needed(self, named: Iterable[Named]) -> set[Digest]:
        """Return these manifests and their blobs; raises `IntegrityError` with the names of unreadable ones."""
        needed, unclear = set(), index.foreign(self._read_index(), self.where)
        for item in named:
            try:
                needed |= self._digests(item.manifest)
            except IntegrityError:
                unclear.append(item.name or str(item.manifest.digest))
        if unclear:
            raise IntegrityError(
                f"{self._what} cannot tell which blobs are needed by {', '.join(unclear)}",
                hint=self._repair,
            )
        return needed

    def known_digests(self, named: Iterable[Named]) -> set[Digest]:
        """Return the readable ones of these manifests' blobs, and the manifests."""
        found = set()
        for item in named:
            found.add(item.manifest.digest)
            with suppress(IntegrityError):
                found |= self._digests(item.manifest)
        return found

    @property
    def path(self) -> Path:
        return self._path

    def _digests(self, manifest: Descriptor) -> set[Digest]:
        return {manifest.digest, *(blob.digest for blob in artifact.blobs(self.manifest(manifest), self.where))}

    def _subject(self, manifest: Descriptor) -> Digest | None:
        with suppress(IntegrityError):
            return artifact.subject(self.manifest(manifest), self.where)
        return None

    def _kind(self, name: str) -> EntryKind:
        return EntryKind.TAG if name else EntryKind.UNTAGGED

    def _group(self, name: str) -> str:
        """Return the group of a name; empty for the title of the bundle."""
        del name
        return ""

    def _without_tag(self, item: Named) -> Named:
        annotations = {key: value for key, value in item.manifest.annotations.items() if key != REF_NAME}
        return Named("", replace(item.manifest, annotations=annotations))


class NamedLayout(RemovableLayout):
    """A layout in which each name is ``NAME:TAG``, or ``NAME@sha256:…`` without a tag."""

    _repair = "Copy these here again, or move their tags to other bundles and run: fps-bundle prune --keep 0"

    def _kind(self, name: str) -> EntryKind:
        if not name or "@" in name:
            return EntryKind.UNTAGGED
        return EntryKind.NEXT_SOURCE if _NEXT_SOURCE.fullmatch(name.rpartition(":")[2]) else EntryKind.TAG

    def _group(self, name: str) -> str:
        return without_tag(name)

    def _without_tag(self, item: Named) -> Named:
        return Named(f"{without_tag(item.name)}@{item.manifest.digest}", super()._without_tag(item).manifest)


class LayoutRemoval:
    """The files to delete from a layout that is locked, by kind; no file is in two kinds."""

    def __init__(self, store: RemovableLayout, going: Collection[Named], *, sweep: bool) -> None:
        names = store.names()
        stays = store.remaining(going)
        needed = {digest.hex for digest in store.needed(stays)}
        blobs = {path.name: path for path in _files(store.blobs) if _BLOB.fullmatch(path.name) and path.name not in needed}
        self._store = store
        self._stays = stays
        self._sweeps = sweep
        self._going = [(item, _take(blobs, store.known_digests([item]))) for item in names if item not in stays]
        old = time.time() - KEPT_SECONDS
        self._blobs = list(blobs.values()) if sweep else []
        self._halves = [path for path in _files(store.blobs) if is_part(path)] if sweep else []
        self._records = [path for path in _files(store.path / UPLOADS) if path.stat().st_mtime < old] if sweep else []

    def describe(self) -> Removed:
        sorts = [
            ("blobs without a bundle", "blob without a bundle", self._blobs),
            ("half downloads", "half download", self._halves),
            ("records of old uploads", "record of an old upload", self._records),
        ]
        return Removed(
            [RemovedBundle(item.name, item.manifest.digest, _size(files)) for item, files in self._going],
            [Leftover(what, one, len(files), _size(files)) for what, one, files in sorts if files],
        )

    def carry_out(self) -> None:
        """Delete unindexed files first: a full disk needs space for the new index."""
        with disk_errors(self._store.path):
            _unlink([*self._blobs, *self._records])
            if self._sweeps:
                sweep(self._store.blobs, kept_seconds=0)
            if self._going:
                self._store.keep(self._stays)
            for _, files in self._going:
                _unlink(files)


def _files(place: Path) -> list[Path]:
    """Return the plain files in a directory, if it exists."""
    return [path for path in place.iterdir() if path.is_file() and not path.is_symlink()] if place.is_dir() else []


def _take(blobs: dict[str, Path], digests: set[Digest]) -> list[Path]:
    return [blobs.pop(digest.hex) for digest in digests if digest.hex in blobs]


def _size(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def _unlink(files: Sequence[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
