"""A new delta as a store to copy from."""

from __future__ import annotations

from bundler.format.content import Descriptor
from bundler.format.delta_manifest import TAR_DIFF, TARGET_MANIFEST
from bundler.format.split_manifest import EMPTY
from bundler.ports import Store
from bundler.stores.wrapped_store import WrappedStore
from bundler.streams import Begun, Stream


class NewDeltaStore(WrappedStore):
    """The store of a delta's target, in which also the blobs are found that only the delta has, which are in ``made``."""

    def __init__(self, inner: Store, made: Store) -> None:
        super().__init__(inner)
        self._made = made

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        store = self._made if blob.media_type in (TAR_DIFF, TARGET_MANIFEST, EMPTY.media_type) else self.inner
        return store.open(blob, begun)
