"""What another host has already, and a thin bundle for it omits."""

from __future__ import annotations

import logging

from bundler.errors import IntegrityError, NotFoundError
from bundler.format.artifact import Manifest
from bundler.format.content import Descriptor
from bundler.format.thin_list import Had
from bundler.ports import Store
from bundler.streams import drain

_log = logging.getLogger(__name__)


def had(name: str, manifest: Manifest, store: Store | None = None) -> Had:
    """Describe a bundle that a host has, with all its blobs, or only those that ``store`` has undamaged."""
    blobs = manifest.blobs if store is None else [blob for blob in manifest.blobs if is_sound(store, blob)]
    return Had(name, manifest.descriptor.digest, frozenset(blob.digest for blob in blobs))


def is_sound(store: Store, blob: Descriptor) -> bool:
    """Whether a store has a blob undamaged; registries verify their own content.

    An archive keeps no record of verified blobs, so the blob is read.
    """
    if not store.rereadable:
        return True
    return _is_readable(store, blob) if store.ordered else store.has(blob)


def _is_readable(store: Store, blob: Descriptor) -> bool:
    try:
        with store.open(blob) as content:
            drain(content)
    except (IntegrityError, NotFoundError) as error:
        _log.warning("%s; it counts as missing", error.message)
        return False
    return True
