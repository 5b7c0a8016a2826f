"""A container engine, in protocols of one topic each. Every method raises `EngineError` when the engine fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bundler.format.image_archive import NewImage
    from bundler.format.whiteouts import Listed
    from bundler.ports.reader import Reader
    from bundler.ports.values import Container, EngineInfo, Image, RunOptions
    from bundler.streams import Progress, Readable


class EngineDescription(Protocol):
    """What the engine is."""

    def info(self) -> EngineInfo: ...


class Routing(Protocol):
    """Network access from this host to the engine's host."""

    def route(self, endpoint: str) -> AbstractContextManager[str]:
        """Within the block, forward a ``HOST:PORT`` that the engine's host can reach; gives the address to dial here."""
        ...


class ContainerLookup(Protocol):
    """Look up containers and their logs."""

    def container(self, name: str) -> Container:
        """Look a container up by name, ID or unique prefix of one; raises `NotFoundError`."""
        ...

    def logs(self, container: Container) -> str:
        """Return the last lines of a container's log."""
        ...


class Pausing(Protocol):
    """Pause containers."""

    def paused(self, container: Container) -> AbstractContextManager[None]:
        """Pause all processes of a container for the length of the block, however it ends.

        Raises `ModelError` after the block unless the same start of the container was paused, by this call, for all of it.
        The container is resumed unless another process has paused it since.
        """
        ...


class ContainerFiles(Protocol):
    """Read and write the files of containers and images."""

    def reader(self, container: Container, wanted: str) -> Reader:
        """Return a reader for a capture; ``wanted`` is ``auto``, ``api``, ``direct`` or ``extended``.

        ``extended`` reads directly, and alone gives nanoseconds and user attributes. Raises `ModelError` when the
        container cannot be read in the requested way.
        """
        ...

    def extent(self, container: Container, reader: Reader) -> int:
        """Estimate how many bytes the engine's API sends to a reader at worst, without mounts and without the image's files.

        The image's files are included for a reader of the whole container.
        """
        ...

    def changes(self, container: Container) -> dict[str, str]:
        """Return what differs from the container's image by path: ``added``, ``changed`` or ``deleted``; mounts are left out."""
        ...

    def size(self, container: Container, path: str) -> int:
        """Return the size of one file or directory entry in bytes; 0 for a path that does not exist."""
        ...

    def listing(self, base: Image, exports: Sequence[str]) -> Iterator[Listed]:
        """Yield everything at and below these paths in a clean image, in walking order.

        A path that the image lacks, or has behind a symlink, yields nothing. The listing is complete before this
        returns, so that a paused model does not wait for it.
        """
        ...

    def put(self, container: Container, archive: Iterator[bytes]) -> None:
        """Unpack a tar at the root of a container's file system.

        Raises `ModelError` when the engine rejects the content. Success does not prove that every file arrived.
        """
        ...


class ContainerRuns(Protocol):
    """Create, start and stop containers for the length of a block."""

    def started(self, container: Container) -> AbstractContextManager[Container]:
        """Run a stopped container for the length of the block; gives the running container."""
        ...

    def created(self, image: Image) -> AbstractContextManager[Container]:
        """Create a container of an image for the length of the block, without starting it."""
        ...

    def running(self, image: Image, options: RunOptions, *, keep: bool) -> AbstractContextManager[Container]:
        """Run a new container of an image for the length of the block.

        With ``keep`` it is kept after a `ModelError`, whose hint then names it.
        """
        ...


class ContainerReplacement(Protocol):
    """Replace a container by another one; an interrupted replacement is finished or undone by the next command."""

    def check_replaceable(self, old: Container) -> None:
        """Raise `UsageError` for a container that cannot be created again with its options.

        Raises `EngineError` where the engine would start the replaced container beside the new one.
        """
        ...

    def replaced(self, old: Container, image: Image, name: str, exports: Sequence[str]) -> AbstractContextManager[Container]:
        """Run a container of ``image``, by its ``name``, in place of ``old``; gives the new container, which was started.

        It has the run options of ``old``, but no anonymous volume of it at, above or below ``exports``. After the block it
        keeps its place, and ``old`` is kept as NAME-previous, stopped. The container that had this name is removed.
        After an error the new one is removed, and ``old`` is as it was. Raises `ModelError` when the new one does not start.
        """
        ...

    def exchanged(self, current: Container) -> AbstractContextManager[Container]:
        """Run the container NAME-previous in place of ``current``, which gets that name; gives the started container.

        After an error both are as before. Raises `NotFoundError` when there is none, and `UsageError` unless one of the two
        has replaced the other.
        """
        ...

    def probed(self, container: Container) -> Container:
        """Look a container up again, after its health check was run where the engine does not do that by itself."""
        ...


class ImageLookup(Protocol):
    """Look up images."""

    def image(self, name: str) -> Image:
        """Look an image up by name or ID; raises `NotFoundError`."""
        ...

    def images(self) -> Iterator[Image]:
        """Yield all images of the engine."""
        ...

    def saved(self, image: Image) -> AbstractContextManager[Readable]:
        """Stream the archive of an image, as ``docker save`` writes it."""
        ...

    def holding(self, new: NewImage) -> Image | None:
        """Return the engine's image with this config and these layers, whatever its ID, or None."""
        ...


class ImageCreation(Protocol):
    """Make and tag images."""

    def committed(self, container: Container) -> AbstractContextManager[Image]:
        """Commit a container's file system as an image, which is removed after the block unless it was tagged.

        The container is paused while the image is made.
        """
        ...

    def loaded(self, image: NewImage, base: Image, progress: Progress) -> AbstractContextManager[Image]:
        """Load new layers on top of a base of this engine; the image is removed after the block unless it was tagged.

        The image in the block was read back from the engine and has the requested layers.
        """
        ...

    def tag(self, image: Image, name: str) -> None:
        """Tag an image; another image with this tag loses it."""
        ...


class Engine(
    EngineDescription,
    Routing,
    ContainerLookup,
    Pausing,
    ContainerFiles,
    ContainerRuns,
    ImageLookup,
    ImageCreation,
    Protocol,
):
    """Runs containers and stores images."""


class ReplacingEngine(Engine, ContainerReplacement, Protocol):
    """An engine whose containers can be replaced; a single process has none."""
