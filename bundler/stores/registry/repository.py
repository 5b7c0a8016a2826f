"""A repository of a registry as a place in which tags and manifests can be deleted.

Source: distribution spec 1.1, "Content Management". A registry deletes blobs later, in its garbage collection.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from bundler.errors import BusyError, NotFoundError, StoreError
from bundler.format import artifact, signature
from bundler.format.content import Descriptor, Digest
from bundler.ports import Displaced, Entry, EntryKind, Leftover, Named, Removed, RemovedBundle
from bundler.stores.registry.retry import TransientError
from bundler.stores.registry.store import RegistryStore, fallback_tag

_FALLBACK_TAG = re.compile(r"sha256-([0-9a-f]{64})")
_DELETED = (200, 202, 204)


class Repository(RegistryStore):
    """A repository whose tags and manifests can be deleted, as far as its registry does that."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Do nothing: a registry has no locks. What changes meanwhile is noticed before each deletion."""
        yield

    def entries(self) -> Sequence[Entry]:
        from bundler.stores.delta import entries  # slow to import, and needed only here

        return [entries.read(self, named, EntryKind.TAG) for named in self.names()]

    def find(self, digest: Digest) -> Entry:
        from bundler.stores.delta import entries

        data = self._manifest(str(digest), artifact.MANIFEST, digest)[1]
        return entries.read(self, Named("", Descriptor.of(artifact.MANIFEST, data)), EntryKind.UNTAGGED)

    def removal(self, entries: Sequence[Entry], going: Sequence[Entry], *, sweep: bool) -> RepositoryRemoval:
        return RepositoryRemoval(self, entries, going, sweep=sweep)

    def untag(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.check_unmoved(entry)
            try:
                self.delete_tag(entry.named.name)
            except TransientError:
                raise
            except StoreError as error:
                raise StoreError(
                    f"{self._shown(entry)}: the registry cannot delete a tag without its bundle: {error.message}",
                    hint="Keep the tag, or delete the bundle with all of its tags:",
                    command=f"fps-bundle rm {self._shown(entry)}",
                ) from error

    def set_tag(self, entry: Entry, tag: str) -> Displaced | None:
        del tag  # the store was opened for it
        return self.tag(entry.named.manifest, self.manifest(entry.named.manifest))

    def check_unmoved(self, entry: Entry) -> None:
        """Raises `BusyError` when a tag refers to another manifest than when the tags were listed."""
        with suppress(NotFoundError):
            if (found := self.found(entry.named.name)) and found != entry.manifest:
                raise BusyError(
                    f"{self._shown(entry)}: another process moved this tag to {found} at the same time",
                    hint="List the bundles, then run the same command again.",
                )

    def delete_tag(self, tag: str) -> None:
        """Delete a tag alone; raises `StoreError` for a registry that cannot do that."""
        self._delete(tag)
        self.check_gone(tag)

    def check_gone(self, tag: str) -> None:
        """Raises `StoreError` when a deleted tag is still there."""
        if self.found(tag):
            raise StoreError(f"{self.where}: the registry accepted the deletion of the tag {tag}, but still has it")

    def delete_manifest(self, digest: Digest) -> None:
        """Delete a manifest; raises `StoreError` for a registry in which deletion is off."""
        try:
            self._delete(str(digest))
        except TransientError:
            raise
        except StoreError as error:
            raise StoreError(
                f"{self.where}: the registry does not delete {digest}: {error.message}",
                hint="Turn deletion on in the registry; distribution does it with REGISTRY_STORAGE_DELETE_ENABLED=true.",
            ) from error

    def delete_referrers(self, subject: Digest, referrers: Collection[Descriptor]) -> None:
        """Delete what refers to a bundle, and the index under the fallback tag."""
        for referrer in referrers:
            self.delete_manifest(referrer.digest)
        if listed := self.found(fallback_tag(subject)):
            self.delete_manifest(listed)

    def orphans(self, bundles: Collection[Digest]) -> dict[Digest, list[Descriptor]]:
        """Return the signatures that only a fallback tag lists, by their subjects, which are not in the repository any more."""
        found = {}
        for tag in self._tags():
            match = _FALLBACK_TAG.fullmatch(tag)
            subject = Digest.parse(f"sha256:{match[1]}") if match else None
            if subject and subject not in bundles and not self.found(str(subject)):
                referrers = list(self.referrers(Descriptor(artifact.MANIFEST, subject, 0)))
                if all(referrer.artifact_type == signature.ARTIFACT_TYPE for referrer in referrers):
                    found[subject] = referrers
        return found

    def blobs_of(self, referrer: Descriptor) -> tuple[Descriptor, ...]:
        return artifact.blobs(self.manifest(referrer), self.where)

    def _delete(self, name: str) -> None:
        with suppress(NotFoundError):  # an interrupted run, or another process, has deleted it
            self._client.request("DELETE", self._url(f"manifests/{name}"), self.where, _DELETED)

    def _shown(self, entry: Entry) -> str:
        tag, digest = entry.named.name, None if entry.named.name else entry.manifest
        return str(replace(self.reference, tag=tag, digest=digest))


@dataclass(frozen=True)
class _GoingManifest:
    """A manifest to delete, with its tags, and the referrers of its bundle if no other manifest is or makes that."""

    digest: Digest
    entries: Sequence[Entry]
    subject: Digest | None
    referrers: Sequence[Descriptor]


class RepositoryRemoval:
    """Tags and manifests to delete. A manifest that keeps a tag is not deleted."""

    def __init__(self, store: Repository, entries: Sequence[Entry], going: Sequence[Entry], *, sweep: bool) -> None:
        stays = [entry for entry in entries if entry not in going]
        kept, bundles = {entry.manifest for entry in stays}, {entry.bundle for entry in stays}
        self._store = store
        self._needed = {blob.digest for entry in stays for blob in entry.blobs}
        self._tags = [entry for entry in going if entry.manifest in kept]
        self._manifests = []
        for digest in dict.fromkeys(entry.manifest for entry in going if entry.manifest not in kept):
            of_it = [entry for entry in going if entry.manifest == digest]
            subject = of_it[0].bundle if of_it[0].bundle not in bundles else None
            bundles.add(subject)  # of several deltas of one bundle, the first one takes the referrers
            referrers = store.referrers(Descriptor(artifact.MANIFEST, subject, 0)) if subject else ()
            self._manifests.append(_GoingManifest(digest, of_it, subject, referrers))
        present = {digest for digest in bundles if digest} | kept
        self._orphans = store.orphans(present) if sweep else {}
        self._by_tag = True

    def describe(self) -> Removed:
        """Return what goes; a blob of several bundles counts for the first one."""
        counted = set(self._needed)
        bundles = [RemovedBundle(entry.named.name, entry.manifest, 0) for entry in self._tags]
        for going in self._manifests:
            size = _size(going.entries[0].blobs, counted) + going.entries[0].named.manifest.size
            bundles.append(RemovedBundle(going.entries[0].named.name, going.digest, size))
            bundles += [RemovedBundle(entry.named.name, going.digest, 0) for entry in going.entries[1:]]
            for referrer in going.referrers:
                size = referrer.size + _size(self._store.blobs_of(referrer), counted)
                bundles.append(RemovedBundle("", referrer.digest, size))
        orphans = [referrer for referrers in self._orphans.values() for referrer in referrers]
        left = Leftover("signatures without a bundle", "signature without a bundle", len(orphans), sum(it.size for it in orphans))
        return Removed(bundles, [left] if self._orphans else [])

    def carry_out(self) -> None:
        """Delete tags that leave their manifest first: a registry that cannot do this is then unchanged."""
        for entry in self._tags:
            self._store.untag([entry])
        for going in self._manifests:
            self._delete(going)
        for subject, referrers in self._orphans.items():
            self._store.delete_referrers(subject, referrers)

    def _delete(self, going: _GoingManifest) -> None:
        named = [entry for entry in going.entries if entry.named.name]
        for entry in named:
            self._store.check_unmoved(entry)
        for entry in named:
            self._delete_tag(entry.named.name)
        self._store.delete_manifest(going.digest)
        for entry in named:
            self._store.check_gone(entry.named.name)
        if going.subject:
            self._store.delete_referrers(going.subject, going.referrers)

    def _delete_tag(self, tag: str) -> None:
        """Delete a tag before its manifest, unless the registry can only delete them together."""
        if self._by_tag:
            try:
                self._store.delete_tag(tag)
            except TransientError:
                raise
            except StoreError:
                self._by_tag = False


def _size(blobs: Sequence[Descriptor], counted: set[Digest]) -> int:
    """Return the bytes of blobs that were not counted before."""
    new = {blob.digest: blob.size for blob in blobs if blob.digest not in counted}
    counted |= new.keys()
    return sum(new.values())
