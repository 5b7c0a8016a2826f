"""What the names of a place refer to: a bundle, a delta, a split bundle, or another artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from bundler.errors import IntegrityError, MissingSourceError, NotFoundError
from bundler.format import artifact, delta_manifest, split_manifest
from bundler.format.content import Descriptor
from bundler.ports import Entry, EntryKind, Named, Store
from bundler.stores.archive.split_artifact import SplitStore
from bundler.stores.delta.store import DeltaStore
from bundler.stores.wrapped_store import WrappedStore

if TYPE_CHECKING:
    from bundler.format.delta_manifest import DeltaSource


def read(store: Store, named: Named, kind: EntryKind, group: str = "") -> Entry:
    """Read the entry of a name. Its ``group`` is by default the title of the bundle."""
    try:
        data = store.manifest(named.manifest)
        if not (artifact.is_bundle(data) or delta_manifest.is_delta(data) or split_manifest.is_split(data)):
            return Entry(named, EntryKind.OTHER)
        bundle = DeltaStore(SplitStore(_OneManifest(store, named.manifest, data)), _no_source)
        manifest = artifact.read(bundle.manifest(bundle.resolve()), store.where)
        blobs = artifact.blobs(data, store.where)
    except (IntegrityError, NotFoundError) as error:
        return Entry(named, kind, group, fault=error.message)
    digest, annotations = manifest.descriptor.digest, manifest.annotations
    source = bundle.delta.source if bundle.delta else None
    if kind is EntryKind.TAG and named.name == delta_manifest.source_tag(digest):
        kind = EntryKind.SOURCE
    group = group or annotations.get(artifact.TITLE, "")
    return Entry(named, kind, group, digest, source, annotations.get(artifact.CREATED, ""), blobs)


class _OneManifest(WrappedStore):
    """A store as opened for one manifest, whose bytes were read."""

    def __init__(self, inner: Store, descriptor: Descriptor, data: bytes) -> None:
        super().__init__(inner)
        self._descriptor = descriptor
        self._data = data

    def resolve(self) -> Descriptor:
        return self._descriptor

    def manifest(self, descriptor: Descriptor) -> bytes:
        return self._data if descriptor.digest == self._descriptor.digest else super().manifest(descriptor)


def _no_source(source: DeltaSource) -> NoReturn:
    raise MissingSourceError(f"{source.name} is not needed to read the manifest of a delta")
