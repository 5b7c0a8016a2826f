"""The local store: an OCI layout below the user's data directory; nothing to set up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from bundler.errors import disk_errors
from bundler.format.artifact import Manifest
from bundler.format.content import Descriptor
from bundler.format.reference import LocalReference
from bundler.stores.layout import LayoutBlob, LayoutStore


def directory() -> Path:
    """Where the local store lies: ``$FPS_BUNDLE_STORE``, else below the user's data directory."""
    chosen = os.environ.get("FPS_BUNDLE_STORE")
    return Path(chosen) if chosen else platformdirs.user_data_path("fps-bundle") / "store"


class LocalStore(LayoutStore):
    """The local store, opened for one bundle; the layout is made on first use."""

    def __init__(self, reference: LocalReference) -> None:
        super().__init__(_directory(), str(reference), reference.digest, str(reference))
        self.prepare()


class LocalSpool:
    """The local store as the place where new bundles are made."""

    def new_blob(self) -> LayoutBlob:
        return LayoutStore(_directory()).new_blob()

    def open(self, reference: LocalReference) -> LocalStore:
        return LocalStore(reference)

    def add(self, reference: LocalReference, manifest: Manifest) -> LocalStore:
        store = LocalStore(reference)
        with store.upload("") as upload:
            upload.add(manifest.descriptor, manifest.data)
            upload.commit(manifest.descriptor)
        return store

    def drop(self, blobs: Sequence[Descriptor]) -> None:
        LayoutStore(_directory()).drop(blobs)

    def forget(self, reference: LocalReference) -> None:
        store = LocalStore(reference)
        store.remove(store.resolve())


def _directory() -> Path:
    path = directory()
    with disk_errors(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)  # state is nobody else's business
    return path
