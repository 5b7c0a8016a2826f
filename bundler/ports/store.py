"""Places for bundles: registry, OCI layout, archive, and the local store that packs captured state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from bundler.format.artifact import Manifest
    from bundler.format.content import Descriptor, Digest
    from bundler.format.layer_writer import Blob
    from bundler.format.reference import LocalReference
    from bundler.format.signature import NewReferrer
    from bundler.ports.values import Displaced, Named
    from bundler.streams import Begun, Opener, Stream


class Upload(Protocol):
    """The upload of a bundle into a store; the bundle is invisible there before `commit`."""

    @property
    def sent(self) -> int:
        """Bytes uploaded in this run, without blobs that the store had and without what an earlier run uploaded."""
        ...

    def has(self, blob: Descriptor) -> bool: ...

    def reserve(self, size: int) -> None:
        """Raises `NoSpaceError` if this many more bytes cannot fit, as far as the store can tell."""
        ...

    def put(self, blob: Descriptor, opened: Opener) -> None:
        """Upload a blob, layers before the config; may open it several times, also at an offset to resume.

        After an `IntegrityError` nothing of it is kept; after another error the next attempt may use what arrived.
        """
        ...

    def add(self, manifest: Descriptor, data: bytes) -> None:
        """Add a manifest whose blobs are in the store, without a name; the bundle's own manifest comes before its referrers."""
        ...

    def commit(self, manifest: Descriptor) -> Displaced | None:
        """Name a manifest that was added, as the last step; returns the bundle that had the name, as far as the store can tell."""
        ...


class Store(Protocol):
    """A place for bundles, opened for one name in it. Every method raises `StoreError` or `NotFoundError`."""

    where: str
    """The reference as the user wrote it, for messages."""

    rereadable: bool
    """Whether opening a blob a second time costs no network traffic."""

    parallel: int
    """How many blobs may be transferred at once."""

    ordered: bool
    """Whether blobs must be uploaded in one order, so that only one can be transferred at a time."""

    def resolve(self) -> Descriptor:
        """Return the manifest that the name refers to; raises `NotFoundError`."""
        ...

    def manifest(self, descriptor: Descriptor) -> bytes:
        """Return the verified bytes of a manifest."""
        ...

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        """Open a blob, or what follows a beginning that the caller has already; the whole blob is verified."""
        ...

    def open_range(self, blob: Descriptor, offset: int, size: int) -> Stream:
        """Open ``size`` bytes of a blob at an offset, fetching no more than these where the store supports it.

        The caller verifies the content, by another digest of it.
        """
        ...

    def has(self, blob: Descriptor) -> bool:
        """Whether a blob is here and needs no transfer."""
        ...

    def referrers(self, manifest: Descriptor) -> Sequence[Descriptor]:
        """Return the manifests here whose ``subject`` is this one (OCI image spec 1.1, manifest.md)."""
        ...

    def attach(self, new: NewReferrer) -> None:
        """Add a referrer to a manifest that is here; no name moves."""
        ...

    def names(self) -> Sequence[Named]:
        """Return all names in the store."""
        ...

    def upload(self, name: str, source: Store | None = None) -> AbstractContextManager[Upload]:
        """Begin to upload a bundle; leaving the block without a commit creates no name.

        ``name`` is used if the store was opened without one. ``source`` is where the blobs come from, which can
        save some transfers.
        """
        ...


@runtime_checkable
class Recompressing(Protocol):
    """A `Store` that makes layers itself, and can make them in another compression than that of their bundle."""

    def has_made(self, blob: Descriptor) -> bool:
        """Whether it has made a layer completely: a tar in canonical form with the diff ID, and the table of its entries."""
        ...

    def makes(self, blob: Descriptor) -> bool:
        """Whether it makes a layer anew, from its beginning, each time the layer is opened."""
        ...

    def recompressed(self, manifest: Descriptor, new_blob: Callable[[], Blob]) -> Iterator[Descriptor]:
        """Make a blob of each layer of a bundle, in their order; only their content is that of the bundle."""
        ...


@runtime_checkable
class Renamable(Protocol):
    """A `Store` whose name can be chosen after it was opened, before a bundle gets it."""

    def rename(self, tag: str) -> None:
        """Use another tag than the one that the store was opened for."""
        ...


@runtime_checkable
class ManifestLookup(Protocol):
    """A `Store` that can tell cheaply whether it has a manifest."""

    def has_manifest(self, digest: Digest) -> bool: ...


class Spool(Protocol):
    """The local store, in which captured state is packed before the upload."""

    def reserve(self, size: int) -> None:
        """Raises `NoSpaceError` if this many more bytes cannot fit."""
        ...

    def new_blob(self) -> Blob:
        """Begin a blob, which appears in the store when it is finished."""
        ...

    def take(self, media_type: str, data: bytes) -> Descriptor:
        """Add a small blob."""
        ...

    def open(self, reference: LocalReference) -> Store:
        """Open the local store for one bundle."""
        ...

    def add(self, reference: LocalReference, manifest: Manifest) -> tuple[Store, Displaced | None]:
        """Name a bundle whose blobs were all made here; returns the store opened for it, and the bundle that had the name."""
        ...

    def drop(self, blobs: Sequence[Descriptor]) -> None:
        """Delete blobs that were made here, except those that a bundle here or another process could need."""
        ...

    def forget(self, reference: LocalReference) -> None:
        """Remove a name, if it exists, and the blobs that no other bundle here and no other process could need."""
        ...

    def is_verified(self, manifest: Digest, store: Store, checks: int) -> bool:
        """Whether this host has verified a bundle by these checks, and only this user can change its copy in the store."""
        ...

    def note_verified(self, manifest: Digest, checks: int) -> None:
        """Record that a bundle was verified; if the record cannot be written it is verified again next time."""
        ...
