"""What the verbs need from the world: an engine, a model, a store, and somebody who watches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from bundler.format.artifact import Manifest
    from bundler.format.content import Descriptor, Digest
    from bundler.format.image_archive import NewImage
    from bundler.format.layer_writer import Blob
    from bundler.format.metadata import Platform
    from bundler.format.reference import LocalReference
    from bundler.format.signature import NewReferrer
    from bundler.format.tar import Entry
    from bundler.format.whiteouts import Listed
    from bundler.streams import Begun, Opener, Progress, Readable, Stream


@dataclass(frozen=True)
class EngineInfo:
    """What an engine says it is; ``image_store`` is ``classic``, ``containerd`` or ``podman``."""

    name: str
    version: str
    image_store: str
    root: str
    """The directory of its data on this host; empty where it has none here."""


@dataclass(frozen=True)
class HealthCheck:
    """When an engine calls a container unhealthy: after ``retries`` failures in a row. Times are in seconds."""

    interval: float
    timeout: float
    retries: int


@dataclass(frozen=True)
class Container:
    """A container as it was when it was looked up; ``addresses`` are its IPs, ``published`` its host endpoints by TCP port."""

    id: str
    name: str
    image_id: str
    image_name: str
    running: bool
    paused: bool
    addresses: tuple[str, ...]
    exposed: tuple[int, ...]
    published: Mapping[int, str]
    mounts: Mapping[str, str]
    """Destination of every mount, and its kind: ``volume``, ``bind`` or ``tmpfs``."""
    instance: str = ""
    """Which start of the container this is, in words that only the engine understands."""
    health_check: HealthCheck | None = None
    restart_policy: str = ""
    """What the engine does when the container ends: ``always``, ``unless-stopped``, ``on-failure``, or empty for nothing."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """An image of the engine; ``config`` is what the engine says of its OCI ``config`` object.

    What ``id`` is a digest of depends on the engine: of the config, or in containerd's image store of a manifest or an index.
    """

    id: str
    names: tuple[str, ...]
    repo_digests: tuple[str, ...]
    platform: Platform
    diff_ids: tuple[Digest, ...]
    config: Mapping[str, Any]
    created: str
    """As the config has it, by RFC 3339; empty where it has none."""
    size: int

    @property
    def labels(self) -> Mapping[str, str]:
        return self.config.get("Labels") or {}


@dataclass(frozen=True)
class PathInfo:
    """What stands at a path: a symlink has its ``link_target``, everything else None."""

    link_target: str | None
    is_directory: bool


@dataclass(frozen=True)
class RunOptions:
    """How a container is run, in the words of ``docker run``; empty means as the engine does it."""

    network: str = ""
    memory: str = ""
    gpus: str = ""
    environment: Sequence[str] = ()


class Engine(Protocol):
    """Runs containers and holds images. Every method raises `EngineError` when the engine fails."""

    def info(self) -> EngineInfo: ...

    def container(self, name: str) -> Container:
        """Look a container up by name, ID or unique prefix of one; raises `NotFoundError`."""
        ...

    def route(self, endpoint: str) -> AbstractContextManager[str]:
        """The way to a ``HOST:PORT`` that the engine's host can reach: what to dial here, for the length of the block."""
        ...

    def paused(self, container: Container) -> AbstractContextManager[None]:
        """Pause all processes of a container for the length of the block, however it ends.

        Raises `ModelError` after the block unless the same start of the container was paused, by this call, for all of it.
        It is resumed in any case but one: when another process has paused it since.
        """
        ...

    def reader(self, container: Container, wanted: str) -> Reader:
        """How to read a container for a capture: ``auto``, ``api``, ``direct`` or ``extended``.

        Only ``extended``, which reads directly too, gives nanoseconds and user attributes. Raises
        `ModelError` when the container cannot be read in the way that is wanted.
        """
        ...

    def extent(self, container: Container, reader: Reader) -> int:
        """Bytes that a reader of the engine's API will about be sent, at worst, without what lies on mounts and in the image.

        A reader that takes the whole container is sent what lies in the image, too.
        """
        ...

    def started(self, container: Container) -> AbstractContextManager[Container]:
        """Run a stopped container for the length of the block; gives it as it is when it runs."""
        ...

    def created(self, image: Image) -> AbstractContextManager[Container]:
        """A container of an image that is never started, for the length of the block."""
        ...

    def running(self, image: Image, options: RunOptions, *, keep: bool) -> AbstractContextManager[Container]:
        """A new container of an image, running for the length of the block.

        With ``keep`` it stays there after a `ModelError`, whose hint then says so.
        """
        ...

    def put(self, container: Container, archive: Iterator[bytes]) -> None:
        """Unpack a tar at the root of a container's file system.

        Raises `ModelError` when the engine refuses what is in it; success does not say that all of it arrived.
        """
        ...

    def logs(self, container: Container) -> str:
        """The last lines that a container wrote."""
        ...

    def committed(self, container: Container) -> AbstractContextManager[Image]:
        """A container's file system as an image, which is gone after the block if nobody named it.

        The container is paused while the image is made.
        """
        ...

    def changes(self, container: Container) -> dict[str, str]:
        """What differs from the container's image by path: ``added``, ``changed`` or ``deleted``; mounts are not seen."""
        ...

    def size(self, container: Container, path: str) -> int:
        """Bytes of what stands at a path, without what is in it; 0 where nothing stands."""
        ...

    def listing(self, base: Image, exports: Sequence[str]) -> Iterator[Listed]:
        """Everything at and below these paths in a clean image, in walking order.

        A path that the image has not, or has behind a symlink, has nothing. All of it was gathered
        before this returns, so that nobody waits for it while a model stands still.
        """
        ...

    def image(self, name: str) -> Image:
        """Look an image up by name or ID; raises `NotFoundError`."""
        ...

    def images(self) -> Iterator[Image]:
        """All images that the engine holds."""
        ...

    def holding(self, new: NewImage) -> Image | None:
        """The image with this config and these layers, if the engine holds it already; whatever the engine's ID of it."""
        ...

    def loaded(self, image: NewImage, base: Image, progress: Progress) -> AbstractContextManager[Image]:
        """A new image from a base that the engine holds and new layers, which is gone after the block if nobody named it.

        What is given was read back from the engine and has the layers that were asked for.
        """
        ...

    def tag(self, image: Image, name: str) -> None:
        """Give an image a name, taking it from the image that had it."""
        ...


class Reader(Protocol):
    """The file system of one container, as a capture reads it; all readers give the same entries."""

    @property
    def sees_all(self) -> bool:
        """Whether it fails at an entry that it cannot read. An engine's archives may leave one out without an error."""
        ...

    def stat(self, path: str) -> PathInfo | None:
        """What stands at a path, or None; symlinks among its parents are followed."""
        ...

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        """Everything at and below these topmost resolved paths, and the directories above them, in walking order.

        Raises `ModelError` for a mount that cannot be read exactly. A content must be read before the
        next entry is asked for. Nobody may ask the engine about this container before the generator is
        used up or closed: an engine locks what it reads.
        """
        ...


class Seen(NamedTuple):
    """An entry as stat(2) tells of it: mode with type, length, times in nanoseconds, inode.

    ``size`` is what of its content a capture will read, 0 for the second name of a file; ``allocated`` is that without holes.
    Of what is no state, such as a FIFO, only type and inode are told.
    """

    path: str
    mode: int
    length: int
    modified: int
    changed: int
    inode: int
    size: int
    allocated: int


@runtime_checkable
class Surveyor(Protocol):
    """What a `Reader` is, too, when it sees what stat(2) tells."""

    def survey(self, exports: Sequence[str], ignored: Callable[[str], bool]) -> Generator[Seen]:
        """Everything at and below these paths but what is ignored, in walking order, without reading any content."""
        ...

    def capacity(self) -> int:
        """Bytes that the file system of the container could hold if it were empty."""
        ...


class Model(Protocol):
    """The Migrator of a model. Every method raises `ModelError`."""

    def export(self) -> Sequence[str]:
        """Ask the model to write its state to disk and name the paths; waits for the model to come up first."""
        ...

    def connect(self) -> None:
        """Wait for the model to come up."""
        ...

    def ingest(self, copy: Callable[[str, str], str]) -> None:
        """Serve the model's requests for files of an older one, in their order, until it is content.

        ``copy`` is called with source and destination, and gives an error or an empty text.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Named:
    """A bundle in a store, and the name that it has there."""

    name: str
    manifest: Descriptor


@dataclass(frozen=True)
class Displaced:
    """A bundle that lost its name to another one; ``reference`` is what it is called now, empty where it did not stay."""

    digest: Digest
    reference: str = ""


class Upload(Protocol):
    """A bundle on its way into a store; nobody sees it there before `commit`."""

    @property
    def sent(self) -> int:
        """Bytes that came in this run: not those that were here before, nor those that an earlier run had brought."""
        ...

    def has(self, blob: Descriptor) -> bool: ...

    def reserve(self, size: int) -> None:
        """Raises `NoSpaceError` where so many more bytes cannot fit, as far as that can be told."""
        ...

    def put(self, blob: Descriptor, opened: Opener) -> None:
        """Take in a blob, layers before the config; it may be opened several times, and at a place where it broke off.

        After an `IntegrityError` nothing of it is kept; after another error what came may be used by the next attempt.
        """
        ...

    def add(self, manifest: Descriptor, data: bytes) -> None:
        """Take in a manifest whose blobs are here, without a name; the bundle's own comes before what refers to it."""
        ...

    def commit(self, manifest: Descriptor) -> Displaced | None:
        """Give a manifest that was added the name, as the last act; gives the bundle that had it, as far as that can be told."""
        ...


class Store(Protocol):
    """A place for bundles, opened for one name in it. Every method raises `StoreError` or `NotFoundError`."""

    where: str
    """How to say it to people: the reference as it was written."""

    rereadable: bool
    """Whether opening a blob a second time costs no network."""

    parallel: int
    """How many blobs may be on their way at once."""

    ordered: bool
    """Whether what is put here must come in one order, so that only one blob may be on its way."""

    def resolve(self) -> Descriptor:
        """The manifest that the name stands for; raises `NotFoundError`."""
        ...

    def manifest(self, descriptor: Descriptor) -> bytes:
        """The bytes of a manifest, verified."""
        ...

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        """The content of a blob, or what follows its beginning that is had already; all of it is verified together."""
        ...

    def open_range(self, blob: Descriptor, offset: int, size: int) -> Stream:
        """So many bytes of a blob from a place in it on, and no more than these are fetched, as far as that can be.

        What they hold is verified by whoever reads them, who knows another digest of it.
        """
        ...

    def has(self, blob: Descriptor) -> bool:
        """Whether a blob is here, and would not have to be brought."""
        ...

    def referrers(self, manifest: Descriptor) -> Sequence[Descriptor]:
        """The manifests here whose ``subject`` is this one (OCI image spec 1.1, manifest.md)."""
        ...

    def attach(self, new: NewReferrer) -> None:
        """Let something new refer to a manifest that is here; no name moves."""
        ...

    def names(self) -> Sequence[Named]:
        """All names in the store."""
        ...

    def upload(self, name: str, source: Store | None = None) -> AbstractContextManager[Upload]:
        """Begin to bring a bundle in; leaving the block without a commit leaves no name behind.

        ``name`` is used where the store was opened without one. ``source`` is where the blobs come from, as far as
        that spares the way of some.
        """
        ...


class Spool(Protocol):
    """The local store, where captured state is packed before it travels."""

    def reserve(self, size: int) -> None:
        """Raises `NoSpaceError` where so many more bytes cannot fit."""
        ...

    def new_blob(self) -> Blob:
        """A blob that is not there before it is finished."""
        ...

    def open(self, reference: LocalReference) -> Store:
        """The local store, opened for one bundle."""
        ...

    def add(self, reference: LocalReference, manifest: Manifest) -> tuple[Store, Displaced | None]:
        """Name a bundle whose blobs were all made here; gives the store opened for it, and the bundle that had the name."""
        ...

    def drop(self, blobs: Sequence[Descriptor]) -> None:
        """Drop blobs that were made here, as far as no bundle here, and no other process, could need them."""
        ...

    def forget(self, reference: LocalReference) -> None:
        """Drop a name, if it is there, and the blobs that no other bundle here, and no other process, could need."""
        ...

    def is_verified(self, manifest: Digest, store: Store, checks: int) -> bool:
        """Whether this host has verified a bundle by these checks, and nobody else can change what a store has of it."""
        ...

    def note_verified(self, manifest: Digest, checks: int) -> None:
        """Remember that a bundle was verified; where that cannot be written down it is verified again."""
        ...


class Signer(Protocol):
    """Somebody's key."""

    def sign(self, message: bytes) -> bytes:
        """A signature of these bytes; raises `TrustError` when the key cannot be used."""
        ...


@dataclass(frozen=True)
class Checked:
    """What a signature turned out to be: whose, by which key, and in ``fault`` why it is nobody's.

    Without a ``fingerprint`` it is no signature of the message at all.
    """

    key_type: str = ""
    fingerprint: str = ""
    principals: tuple[str, ...] = ()
    fault: str = ""


class Verifier(Protocol):
    """Somebody who knows the allowed signers, and which keys were revoked."""

    def check(self, message: bytes, signature: bytes) -> Checked:
        """Whose signature of these bytes this is, now; raises `TrustError` when that cannot be found out."""
        ...
