"""A new delta as a store to copy from."""

from __future__ import annotations

import io

from bundler.format import delta_manifest
from bundler.format.artifact import Manifest
from bundler.format.content import Descriptor
from bundler.format.delta_manifest import TARGET_MANIFEST
from bundler.format.split_manifest import EMPTY, EMPTY_CONTENT
from bundler.ports import Store
from bundler.stores.wrapped_store import WrappedStore
from bundler.streams import Begun, Stream


class NewDeltaStore(WrappedStore):
    """The store of a delta's target, in which also the blobs of the delta are found; the tar-diffs are in ``diffs``."""

    def __init__(self, inner: Store, target: Manifest, diffs: Store) -> None:
        super().__init__(inner)
        self._diffs = diffs
        self._small = {
            (TARGET_MANIFEST, target.descriptor.digest): target.data,
            (EMPTY.media_type, EMPTY.digest): EMPTY_CONTENT,
        }

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        data = self._small.get((blob.media_type, blob.digest))
        if data is not None:
            return io.BytesIO(data[begun.size if begun else 0 :])
        store = self._diffs if blob.media_type == delta_manifest.TAR_DIFF else self.inner
        return store.open(blob, begun)
