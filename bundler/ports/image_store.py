"""Places for ordinary container images: registry, OCI layout and archive."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bundler.format.content import Descriptor
    from bundler.format.oci_image import ImageManifest
    from bundler.ports.store import Store
    from bundler.streams import Begun, Opener, Stream


class ImageUpload(Protocol):
    """The upload of an image; it has no name before `name`."""

    @property
    def sent(self) -> int:
        """Bytes of blobs uploaded in this run."""
        ...

    def has(self, blob: Descriptor, source: ImageStore | Store | None) -> bool:
        """Whether a blob of ``source`` is in the store; a registry takes it from another of its repositories where it can."""
        ...

    def reserve(self, size: int) -> None:
        """Raises `NoSpaceError` if this many more bytes cannot fit, as far as the store can tell."""
        ...

    def put(self, blob: Descriptor, opened: Opener) -> None:
        """Upload a blob; may open it several times, also at an offset to resume."""
        ...

    def name(self, image: ImageManifest, before: Descriptor | None, previous: str) -> None:
        """Add the manifest and name it, as the last step.

        ``before`` is what `ImageStore.current` was when the work began. It gets the name ``previous``, unless that is empty.
        Raises `BusyError` when another process has moved the name since.
        """
        ...


class ImageStore(Protocol):
    """A place for ordinary images, opened for one name in it."""

    where: str
    """The reference as the user wrote it, for messages."""

    parallel: int
    """How many blobs may be transferred at once."""

    rereadable: bool
    """Whether opening a blob a second time costs no network traffic."""

    ordered: bool
    """Whether blobs must be uploaded in one order, so that only one can be transferred at a time."""

    keeps_previous: bool
    """Whether the image that a new one replaces can stay under another name."""

    def resolve_image(self) -> Descriptor:
        """Return the manifest or index that the name refers to, of whatever kind; raises `NotFoundError`."""
        ...

    def current(self) -> Descriptor | None:
        """Return what a new image would replace; raises `StoreError` for what must not be replaced."""
        ...

    def manifest(self, descriptor: Descriptor) -> bytes:
        """Return the verified bytes of a manifest or an index."""
        ...

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        """Open a blob, or what follows a beginning that the caller has already; the whole blob is verified."""
        ...

    def contains(self, blob: Descriptor) -> bool:
        """Whether a blob is here and sound."""
        ...

    def shares_blobs_with(self, source: ImageStore | Store) -> bool:
        """Whether blobs of a source can come here without passing through this host."""
        ...

    def upload_image(self, *, resumes: bool) -> AbstractContextManager[ImageUpload]:
        """Begin to upload an image; with ``resumes`` a blob that arrived in part is kept for the next run."""
        ...
