"""Bundles as values: read one from a store, list those of a store, and find the referrers of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundler.errors import IntegrityError
from bundler.format import artifact, strict_json
from bundler.format.artifact import Manifest, Referrer
from bundler.format.content import Descriptor, Digest
from bundler.ports import Named, Store

if TYPE_CHECKING:
    from bundler.format.metadata import Metadata


@dataclass(frozen=True)
class Bundle:
    """A bundle with its verified manifest and metadata."""

    manifest: Manifest
    metadata: Metadata

    @property
    def digest(self) -> Digest:
        return self.manifest.descriptor.digest


def read_bundle(store: Store, manifest: Descriptor | None = None) -> Bundle:
    """Read a bundle by its manifest or by the name of the store; raises `NotFoundError`, and `IntegrityError` for a damaged one.

    A tag is resolved only once; everything else is read by digest.
    """
    from bundler.format import consistency  # metadata is slow to import, and a list of bundles needs none
    from bundler.format.metadata import Metadata

    descriptor = manifest or store.resolve()
    artifact.check_media_type(descriptor, store.where)
    strict_json.check_size(descriptor.size, f"{store.where}: the manifest")
    read = artifact.read(store.manifest(descriptor), store.where)
    strict_json.check_size(read.config.size, f"{store.where}: the metadata")
    with store.open(read.config) as stream:
        metadata = Metadata.from_bytes(stream.read(), store.where)
    consistency.check(read, metadata, store.where)
    return Bundle(read, metadata)


def list_bundles(store: Store, names: Sequence[Named] | None = None) -> list[tuple[str, Manifest]]:
    """Return the names in a store, by default all, with the manifests of their bundles; other manifests are skipped."""
    found = []
    for named in sorted(store.names() if names is None else names, key=lambda item: item.name):
        data = store.manifest(named.manifest)
        if artifact.is_bundle(data):
            found.append((named.name, artifact.read(data, store.where)))
    return found


def referrers(source: Store, bundle: Bundle) -> list[Referrer]:
    """Return the referrers of a bundle in a store; raises `IntegrityError` for one whose subject is another manifest."""
    return [_read_referrer(source, found, bundle) for found in source.referrers(bundle.manifest.descriptor)]


def _read_referrer(source: Store, descriptor: Descriptor, bundle: Bundle) -> Referrer:
    strict_json.check_size(descriptor.size, f"{source.where}: the referrer {descriptor.digest}")
    referrer = artifact.read_referrer(source.manifest(descriptor), source.where)
    if referrer.subject != bundle.digest:
        raise IntegrityError(f"{source.where}: {descriptor.digest} refers to {referrer.subject}, not to this bundle")
    return referrer
