"""Prune: delete old untagged bundles and unreferenced blobs from the local store."""

from __future__ import annotations

import re
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import IntegrityError, disk_errors
from bundler.format import artifact
from bundler.format.content import Digest
from bundler.format.reference import LocalReference, without_tag
from bundler.localfs.atomic_file import KEPT_SECONDS, is_part, sweep
from bundler.ports import Named
from bundler.stores.layout import in_use_lock
from bundler.stores.layout.local import UPLOADS, LocalStore, directory

_BLOB = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class PrunedBundle:
    """A deleted bundle by its name, or a referrer without a name; ``size`` is the freed space in bytes."""

    name: str
    digest: Digest
    size: int


@dataclass(frozen=True)
class Leftover:
    """Files of one kind that belong to no bundle; ``one`` is the singular of ``what``, ``size`` is in bytes."""

    what: str
    one: str
    count: int
    size: int


@dataclass(frozen=True)
class Pruned:
    """What prune deleted, or in a dry run would delete."""

    bundles: Sequence[PrunedBundle]
    leftovers: Sequence[Leftover]

    @property
    def size(self) -> int:
        """Return the freed space in bytes."""
        return sum(bundle.size for bundle in self.bundles) + sum(leftover.size for leftover in self.leftovers)


def prune(keep: int, *, dry_run: bool) -> Pruned:
    """Delete untagged bundles except the ``keep`` newest of each name, and every file that no bundle needs.

    Raises `BusyError` while another process uses the store. Raises `IntegrityError` when a remaining manifest is
    unreadable, as the blobs it needs are unknown. In both cases nothing is deleted.
    """
    with disk_errors(directory()):
        if not directory().is_dir():
            return Pruned((), ())
    store = LocalStore(LocalReference(""))
    with store.alone() as alone, disk_errors(directory()):
        if not alone:
            raise in_use_lock.busy(directory())
        plan = _PrunePlan(store, keep)
        pruned = plan.describe()
        if not dry_run:
            plan.carry_out()
        return pruned


def choose(names: Sequence[Named], created: Mapping[Digest, str], keep: int) -> list[Named]:
    """Return the entries of an index to delete; ``created`` has the creation times (RFC 3339, UTC) of readable bundles.

    An unreadable bundle has no age. Without a tag it is deleted only when no untagged bundles are kept.
    """
    going = []
    for item in names:
        if item.manifest.digest not in created:
            going += [item] if not keep and not _is_tagged(item) else []
        elif item.name and item.manifest.digest not in _kept(without_tag(item.name), names, created, keep):
            going.append(item)
    return going


def _kept(name: str, names: Sequence[Named], created: Mapping[Digest, str], keep: int) -> set[Digest]:
    """Return the tagged bundles of a name, and the newest ones."""
    bundles = [item for item in names if without_tag(item.name) == name]
    ages = {item.manifest.digest: created.get(item.manifest.digest, "") for item in bundles}
    newest = sorted(ages, key=lambda digest: (ages[digest], digest), reverse=True)[:keep]
    return {*newest, *(item.manifest.digest for item in bundles if _is_tagged(item))}


def _is_tagged(item: Named) -> bool:
    return bool(item.name) and "@" not in item.name


class _PrunePlan:
    """The files to delete, by kind; no file is in two kinds."""

    def __init__(self, store: LocalStore, keep: int) -> None:
        names = store.names()
        stays = store.remaining(choose(names, _created(store, names), keep))
        needed = {digest.hex for digest in store.needed(stays)}
        blobs = {path.name: path for path in _files(store.blobs) if _BLOB.fullmatch(path.name) and path.name not in needed}
        self._store = store
        self._stays = stays
        self._going = [(item, _take(blobs, store.known_digests([item]))) for item in names if item not in stays]
        self._blobs = list(blobs.values())
        self._halves = [path for path in _files(store.blobs) if is_part(path)]
        self._records = [path for path in _files(directory() / UPLOADS) if time.time() - path.stat().st_mtime > KEPT_SECONDS]

    def describe(self) -> Pruned:
        sorts = [
            ("blobs without a bundle", "blob without a bundle", self._blobs),
            ("half downloads", "half download", self._halves),
            ("records of old uploads", "record of an old upload", self._records),
        ]
        return Pruned(
            [PrunedBundle(item.name, item.manifest.digest, _size(files)) for item, files in self._going],
            [Leftover(what, one, len(files), _size(files)) for what, one, files in sorts if files],
        )

    def carry_out(self) -> None:
        """Delete unindexed files first: a full disk needs space for the new index."""
        _unlink([*self._blobs, *self._records])
        sweep(self._store.blobs, kept_seconds=0)
        if self._going:
            self._store.keep(self._stays)
        for _, files in self._going:
            _unlink(files)


def _created(store: LocalStore, names: Sequence[Named]) -> dict[Digest, str]:
    created = {}
    for item in names:
        with suppress(IntegrityError):
            data = store.manifest(item.manifest)
            bundle = artifact.read(data, item.name) if artifact.is_bundle(data) else None
            created[item.manifest.digest] = bundle.annotations.get(artifact.CREATED, "") if bundle else ""
    return created


def _files(place: Path) -> list[Path]:
    """Return the plain files in a directory, if it exists."""
    return [path for path in place.iterdir() if stat.S_ISREG(path.lstat().st_mode)] if place.is_dir() else []


def _take(blobs: dict[str, Path], digests: set[Digest]) -> list[Path]:
    return [blobs.pop(digest.hex) for digest in digests if digest.hex in blobs]


def _size(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def _unlink(files: Sequence[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
