"""The local store: an OCI layout below the user's data directory, created on first use.

Blobs are deleted from this store only, and only while no other process uses it (`in_use_lock`).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import platformdirs

from bundler.errors import BusyError, IntegrityError, StoreError, disk_errors
from bundler.format.artifact import Manifest
from bundler.format.content import Descriptor, Digest
from bundler.format.reference import LocalReference
from bundler.localfs import private_file
from bundler.ports import Displaced, Store
from bundler.stores.layout import in_use_lock, index, verified_cache
from bundler.stores.layout.removable import UPLOADS, NamedLayout
from bundler.stores.layout.store import LayoutBlob, LayoutStore


def directory() -> Path:
    """Return the directory of the local store: ``$FPS_BUNDLE_STORE``, else below the user's data directory."""
    chosen = os.environ.get("FPS_BUNDLE_STORE")
    return Path(chosen) if chosen else platformdirs.user_data_path("fps-bundle") / "store"


class LocalStore(NamedLayout):
    """The local store, opened for one bundle; the layout is created on first use.

    A bundle whose tag moves to another one stays, as ``NAME@sha256:…``.
    """

    file_mode = 0o600
    own_files = LayoutStore.own_files | {in_use_lock.FILE, UPLOADS}
    directories = (*LayoutStore.directories, UPLOADS)

    def __init__(self, reference: LocalReference) -> None:
        super().__init__(use(), str(reference), reference.digest, str(reference))
        self._reference = reference
        self.prepare()

    @property
    def _what(self) -> str:
        return "the local store"

    def _untagged(self, manifest: Descriptor) -> str:
        return str(replace(self._reference, digest=manifest.digest))

    def forget(self) -> None:
        """Delete this name, and the blobs that no other bundle here needs."""
        with self._locked():
            before = self.names()
            stays = self.remaining([item for item in before if item.name == self._name])
            blobs = self.known_digests(item for item in before if item not in stays)
            self.keep(stays)
            self._delete(blobs)

    def drop(self, blobs: Sequence[Descriptor]) -> None:
        """Delete those of the blobs that no bundle here needs."""
        with self._locked():
            self._delete({blob.digest for blob in blobs})

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Do nothing: this process uses the store until its end."""
        yield

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no other process uses the store; if so, store and index are locked for the block."""
        with self._locked(), in_use_lock.alone(self._path) as alone:
            yield alone

    def busy(self) -> BusyError:
        return in_use_lock.busy(self._path)

    def _delete(self, blobs: Collection[Digest]) -> None:
        """Delete unneeded blobs; while another process uses the store they are left to a later prune."""
        with in_use_lock.alone(self._path) as alone, suppress(IntegrityError), disk_errors(self._path):
            if alone:
                needed = self.needed(self.names())
                for digest in blobs:
                    if digest not in needed:
                        self._blob(digest).unlink(missing_ok=True)


class LocalSpool:
    """The local store as the place where new bundles are created."""

    def reserve(self, size: int) -> None:
        self._any().check_space(size)

    def new_blob(self) -> LayoutBlob:
        return self._any().new_blob()

    def take(self, media_type: str, data: bytes) -> Descriptor:
        descriptor = Descriptor.of(media_type, data)
        self._any().take(descriptor.digest, data)
        return descriptor

    def open(self, reference: LocalReference) -> LocalStore:
        return LocalStore(reference)

    def add(self, reference: LocalReference, manifest: Manifest) -> tuple[LocalStore, Displaced | None]:
        store = LocalStore(reference)
        with store.upload("") as upload:
            upload.add(manifest.descriptor, manifest.data)
            displaced = upload.commit(manifest.descriptor)
        return store, displaced

    def drop(self, blobs: Sequence[Descriptor]) -> None:
        self._any().drop(blobs)

    def forget(self, reference: LocalReference) -> None:
        LocalStore(reference).forget()

    def is_verified(self, manifest: Digest, store: Store, checks: int) -> bool:
        return isinstance(store, LocalStore) and verified_cache.is_noted(manifest, checks)

    def note_verified(self, manifest: Digest, checks: int) -> None:
        verified_cache.note(manifest, checks)

    def _any(self) -> LocalStore:
        return LocalStore(LocalReference(""))


def use() -> Path:
    """Create the local store's directory if missing, join its users, and return it."""
    path = directory()
    for place in (path, path / "blobs", path / "blobs" / "sha256"):
        with disk_errors(place):
            with suppress(FileNotFoundError):
                private_file.check_is_directory(place, may_be_link=place == path)
            place.mkdir(mode=0o700, parents=True, exist_ok=True)  # state is private
            _check_is_ours(place)
    with disk_errors(path / UPLOADS), suppress(FileNotFoundError):
        private_file.check_directory(path / UPLOADS)
    for name in (index.INDEX_FILE, index.LAYOUT_FILE):
        private_file.check_file(path / name)
    in_use_lock.join(path)
    return path


def _check_is_ours(path: Path) -> None:
    """Raises `StoreError` for a directory, or a link to one, that another user can change."""
    if any(found.st_uid not in (os.geteuid(), 0) for found in (path.lstat(), path.stat())):
        raise StoreError(f"the local store {path} belongs to another user", hint="Set FPS_BUNDLE_STORE to a directory of yours.")
    if path.stat().st_mode & 0o022:
        raise StoreError(f"the local store {path} is writable by other users", hint="Run:", command=f"chmod go-w {path}")
