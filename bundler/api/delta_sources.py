"""Finds the source of a delta: in the local store, or where the delta is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace

from bundler.bundle import Bundle, read_bundle
from bundler.delta.chunks import StoredLayer
from bundler.errors import IntegrityError, MissingSourceError, NotFoundError
from bundler.format.content import Digest
from bundler.format.delta_manifest import MAX_LINKS, DeltaSource
from bundler.format.reference import LocalReference
from bundler.ports import ImageLookup, Store
from bundler.stores.delta.store import DeltaStore
from bundler.stores.layout.local import LocalSpool, LocalStore
from bundler.streams import Progress
from bundler.verbs import verify

# `verbs.delta` needs numpy, which is slow to import, and only a delta needs either.


@dataclass(frozen=True)
class SourceFinder:
    """Finds sources for the deltas of ``place``.

    ``likely`` opens the names in it under which a source is likely to be found by its digest. ``targets`` are the bundles
    that are being rebuilt from the source to find.
    """

    place: Store
    progress: Progress
    likely: Callable[[DeltaSource], Sequence[Store]] | None = None
    targets: tuple[Digest, ...] = ()
    engine: ImageLookup | None = None
    """An engine whose applied images are looked at, too."""

    @contextmanager
    def __call__(self, source: DeltaSource) -> Iterator[Sequence[StoredLayer]]:
        """Give the layers of a source, which are on a disk of this host for the length of the block.

        Raises `NotFoundError` without the source, and `IntegrityError` for a chain of deltas that is too long or has no end.
        """
        where = self.place.where
        if source.digest in self.targets:
            raise IntegrityError(f"{where}: the deltas form a loop at {source.digest}")
        if len(self.targets) >= MAX_LINKS:
            raise IntegrityError(
                f"{where}: more than {MAX_LINKS} deltas lead to this bundle",
                hint="Make the delta from a newer bundle, or copy the whole bundle.",
            )
        with ExitStack() as opened:
            yield self._in_stores(source, opened) or self._in_engine(source, opened)

    def _in_stores(self, source: DeltaSource, opened: ExitStack) -> Sequence[StoredLayer] | None:
        from bundler.verbs import delta

        for look in (self._in_local_store, self._at_likely_names, self._among_all_names):
            if found := look(source, opened):
                bundle, store = found
                layers = delta.layers_of(*opened.enter_context(verify.readable_layers(bundle, store, LocalSpool(), self.progress)))
                if tuple(it.layer.diff_id for it in layers) != source.diff_ids:
                    raise IntegrityError(f"{self.place.where}: the delta lists other layers than its source {source.digest} has")
                return layers
        return None

    def _in_engine(self, source: DeltaSource, opened: ExitStack) -> Sequence[StoredLayer]:
        if self.engine:
            from bundler.verbs import delta

            applied = delta.layers_of_applied(source, self.engine, LocalSpool(), self.progress)
            if layers := opened.enter_context(applied):
                return layers
        raise MissingSourceError(
            f"{self.place.where} is a delta from {source.name}, which is neither in the local store nor beside the delta"
            + (" nor applied on the engine" if self.engine else ""),
            hint="Copy that bundle here first, or copy the whole bundle. For example:",
            command=f"fps-bundle copy REGISTRY/REPOSITORY@{source.digest} {source.name}",
        )

    def _in_local_store(self, source: DeltaSource, opened: ExitStack) -> tuple[Bundle, Store] | None:
        del opened
        store = LocalStore(LocalReference(""))
        for named in store.names():
            if named.manifest.digest == source.digest:
                bundle = read_bundle(store, named.manifest)
                if all(store.holds(blob) for blob in bundle.manifest.blobs):
                    return bundle, store
        return None

    def _at_likely_names(self, source: DeltaSource, opened: ExitStack) -> tuple[Bundle, Store] | None:
        for store in self.likely(source) if self.likely else ():
            nested = self._nested(store, source.digest, opened)
            with suppress(NotFoundError):
                found = nested.resolve()
                if found.digest == source.digest:
                    return read_bundle(nested, found), nested
        return None

    def _among_all_names(self, source: DeltaSource, opened: ExitStack) -> tuple[Bundle, Store] | None:
        nested = self._nested(self.place, source.digest, opened)
        for named in nested.names():
            if named.manifest.digest == source.digest:
                return read_bundle(nested, named.manifest), nested
        return None

    def _nested(self, store: Store, target: Digest, opened: ExitStack) -> DeltaStore:
        return opened.enter_context(DeltaStore(store, replace(self, targets=(*self.targets, target)), warn=self.progress.warn))
