"""A destination of pushes that gets only the differences from the bundle of the last push."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

from bundler.bundle import Bundle, read_bundle
from bundler.errors import BundlerError
from bundler.format import units
from bundler.format.content import Descriptor, Digest
from bundler.format.delta_manifest import MAX_LINKS, DeltaManifest
from bundler.format.reference import LocalReference, image_name
from bundler.ports import Container, ManifestLookup, Spool, Store
from bundler.streams import Progress
from bundler.verbs.delta import made
from bundler.verbs.early_upload import Sender
from bundler.verbs.have import is_sound
from bundler.verbs.push_destination import RemoteDestination, RemoteTarget

CHAIN = "fps.bundle.delta.chain"
"""Annotation of a kept bundle in the index of the local store: the manifest by which it is stored at the destination, how many
deltas lead to it there, and their bytes."""


@dataclass(frozen=True)
class _Kept:
    """The bundle of the last push of a container to a place, which is the source of the next delta."""

    bundle: Bundle
    stored: Digest
    links: int
    size: int


class DeltaDestination(RemoteDestination):
    """Another store, which gets a delta from the last bundle of this container there, if the local store has kept that."""

    def __init__(self, target: RemoteTarget, spool: Spool, container: Container, progress: Progress) -> None:
        super().__init__(target, spool)
        self._name = kept_name(container, target.place)
        self._progress = progress
        self._source = self._find_source()
        if self._source is None:
            progress.note(
                "no earlier push of this container to this place is kept here and at the place: sending whole layers this time"
            )

    @property
    def last(self) -> Bundle | None:
        return self._source.bundle if self._source else None

    def early_upload(self, blobs: Iterable[Descriptor]) -> AbstractContextManager[Sender | None]:
        return nullcontext() if self._source else super().early_upload(blobs)

    def _find_source(self) -> _Kept | None:
        store = self._spool.open(self._name)
        try:
            manifest = store.resolve()
            stored, links, size = manifest.annotations.get(CHAIN, "").split(" ")
            bundle = read_bundle(store, manifest)
            kept = _Kept(bundle, Digest.parse(stored), int(links), int(size))
            if isinstance(self._store, ManifestLookup) and not self._store.has_manifest(kept.stored):
                return None  # removed there: readers of a delta would not find its source
            return kept if all(is_sound(store, blob) for blob in bundle.manifest.blobs) else None
        except (BundlerError, ValueError):
            return None  # missing or damaged: the next push keeps another one

    @contextmanager
    def _delta(self, bundle: Bundle, local: Store) -> Iterator[DeltaManifest | None]:
        if self._source is None:
            yield None
            return
        source = self._source.bundle
        with made(bundle, local, source, self._spool.open(self._name), self._spool, self._progress, self._source.stored) as new:
            size, whole = new.manifest.size, bundle.manifest.size
            if self._source.links >= MAX_LINKS or self._source.size + size > whole // 2:
                self._progress.note(
                    f"sending whole layers: {units.counted(self._source.links + 1, 'delta')} would lead to this bundle, "
                    f"with {units.shown(self._source.size + size)} beside {units.shown(whole)}"
                )
                yield None
            else:
                yield new.manifest

    def _delivered(self, bundle: Bundle, delta: DeltaManifest | None) -> None:
        """Keep a bundle as the source of the next delta, in place of the one before."""
        links, size = (self._source.links + 1, self._source.size + delta.size) if self._source and delta else (0, 0)
        stored = delta.descriptor.digest if delta else bundle.digest
        descriptor = replace(bundle.manifest.descriptor, annotations={CHAIN: f"{stored} {links} {size}"})
        _, displaced = self._spool.add(self._name, replace(bundle.manifest, descriptor=descriptor))
        if displaced:
            self._spool.forget(LocalReference(self._name.name, digest=displaced.digest))
        super()._delivered(bundle, delta)
        self._progress.note(f"kept as the source of the next delta: {self._name}, {units.shown(bundle.manifest.size)} on this disk")


def kept_name(container: Container, place: str) -> LocalReference:
    """The name in the local store of the last bundle of a container that was pushed to a place."""
    unique = hashlib.sha256(f"{container.name}\n{place}".encode()).hexdigest()[:12]
    return LocalReference(image_name(container.name), f"delta-{unique}")
