"""Prune: delete old untagged bundles and unreferenced blobs from the local store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from bundler.errors import IntegrityError, disk_errors
from bundler.format import artifact
from bundler.format.content import Digest
from bundler.format.reference import LocalReference, without_tag
from bundler.ports import Named, Removed
from bundler.stores.layout.local import LocalStore, directory
from bundler.stores.layout.removable import LayoutRemoval


def prune(keep: int, *, dry_run: bool) -> Removed:
    """Delete untagged bundles except the ``keep`` newest of each name, and every file that no bundle needs.

    Raises `BusyError` while another process uses the store. Raises `IntegrityError` when a remaining manifest is
    unreadable, as the blobs it needs are unknown. In both cases nothing is deleted.
    """
    with disk_errors(directory()):
        if not directory().is_dir():
            return Removed((), ())
    store = LocalStore(LocalReference(""))
    with store.alone() as alone, disk_errors(directory()):
        if not alone:
            raise store.busy()
        names = store.names()
        plan = LayoutRemoval(store, choose(names, _created(store, names), keep), sweep=True)
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


def _created(store: LocalStore, names: Sequence[Named]) -> dict[Digest, str]:
    created = {}
    for item in names:
        with suppress(IntegrityError):
            data = store.manifest(item.manifest)
            bundle = artifact.read(data, item.name) if artifact.is_bundle(data) else None
            created[item.manifest.digest] = bundle.annotations.get(artifact.CREATED, "") if bundle else ""
    return created
