"""Makes the parts that a command needs. Imports happen on use, so that ``--help`` stays quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.cli import named_files
from bundler.errors import UsageError
from bundler.format import units
from bundler.format.reference import (
    ArchiveReference,
    LayoutReference,
    LocalReference,
    Reference,
    RegistryReference,
    is_exact,
    parse,
)
from bundler.stores.registry.limits import Limits

if TYPE_CHECKING:
    from bundler.engines.docker import DockerEngine
    from bundler.format.content import Descriptor
    from bundler.models.grpc import GrpcModel
    from bundler.ports import Container, Engine, Store
    from bundler.stores.archive.pipe import Received
    from bundler.stores.layout.store import LayoutStore
    from bundler.streams import Progress


def check_source(reference: Reference) -> None:
    """Raises `UsageError` for an archive, or the list of its parts, and for a layout that cannot be read."""
    if isinstance(reference, LayoutReference):
        named_files.check_directory(Path(reference.path))
    elif isinstance(reference, ArchiveReference) and not reference.is_pipe:
        from bundler.stores.archive.part_files import list_path

        path = Path(reference.path)
        is_split = not os.path.lexists(path) and os.path.lexists(list_path(path))
        named_files.check(list_path(path) if is_split else path)


def destination(text: str) -> Reference:
    """Where a bundle goes; raises `UsageError` for what could also be a path here, and for one that has no tag to tell it apart."""
    reference = parse(text)
    if isinstance(reference, LocalReference | RegistryReference) and not is_exact(text, reference) and is_path(Path(text)):
        where = "the local store" if isinstance(reference, LocalReference) else f"the registry {reference.registry}"
        raise UsageError(
            f"{text!r} could be a path on this host, or a bundle of {where}",
            hint=f"For a file write {text}.tar, for a layout oci:{text}, for {where} {reference}.",
        )
    return reference


def is_path(path: Path) -> bool:
    """Whether a path is there, or could be made in a directory that is there."""
    return os.path.lexists(path) or (len(path.parts) > 1 and path.parent.is_dir())


def push_target(text: str) -> Reference:
    """Where a pushed bundle goes; raises `UsageError` for a pipe, as a push prints its result there."""
    reference = destination(text)
    if isinstance(reference, ArchiveReference) and reference.is_pipe:
        raise UsageError("push writes to no pipe", hint="Push into the local store, then: fps-bundle copy BUNDLE - | …")
    return reference


def check_one_pipe(references: Sequence[Reference]) -> None:
    """Raises `UsageError` when more than one bundle shall come through the pipe."""
    if sum(isinstance(it, ArchiveReference) and it.is_pipe for it in references) > 1:
        raise UsageError("only one bundle can come through a pipe", hint="Copy the other one to a file or the local store first.")


@dataclass(frozen=True)
class Link:
    """How a registry may be spoken to, as the command line says it; ``terminal`` is told of attempts that fail."""

    plain_http: bool = False
    limit_rate: str | None = None
    parallel: int = Limits.parallel
    timeout: float = Limits.timeout
    verify_written: bool | None = None
    terminal: Progress | None = None

    @property
    def rate(self) -> int | None:
        return units.size(self.limit_rate) or None if self.limit_rate is not None else None

    @property
    def progress(self) -> Progress:
        from bundler.cli.console import Terminal

        return self.terminal or Terminal()  # so that every command tells of waits

    @property
    def readback(self) -> bool:
        """Whether what is written to a file or layout is read back, which is the default there."""
        return self.verify_written is not False

    def open(self, reference: RegistryReference) -> Store:
        from bundler.stores.registry.store import RegistryStore

        return RegistryStore(
            reference,
            plain_http=self.plain_http,
            limits=Limits(rate=self.rate, parallel=self.parallel, timeout=self.timeout),
            tell=self.progress.note,
            verify_remote=bool(self.verify_written),
        )


def open_store(reference: Reference, link: Link | None = None) -> Store:
    """The store that a reference speaks of, opened for the bundle that it names."""
    link = link or Link()
    if isinstance(reference, LocalReference):
        from bundler.stores.layout.local import LocalStore

        return LocalStore(reference)
    if isinstance(reference, LayoutReference):
        return _layout(reference, link)
    if isinstance(reference, ArchiveReference):
        from bundler.stores.archive.pipe import PipeStore
        from bundler.stores.archive.store import ArchiveStore

        if reference.is_pipe:
            return PipeStore(sys.stdout.fileno(), reference.tag, reference.digest)
        return ArchiveStore(Path(reference.path), reference.tag, reference.digest, readback=link.readback, progress=link.progress)
    return link.open(reference)


def _layout(reference: LayoutReference, link: Link) -> LayoutStore:
    from bundler.stores.layout.store import LayoutStore

    return LayoutStore(Path(reference.path), reference.tag, reference.digest, readback=link.readback, progress=link.progress)


def open_target(reference: Reference, link: Link) -> Store | LocalReference:
    """Where a push goes; the local store stays a name, because there the state is packed anyway."""
    return reference if isinstance(reference, LocalReference) else open_store(reference, link)


@contextmanager
def opened(reference: Reference, link: Link, parts_from: Sequence[Path] | None = None) -> Iterator[Store]:
    """The store of a bundle that is to be read, wherever it comes from."""
    check_source(reference)
    if isinstance(reference, ArchiveReference) and reference.is_pipe:
        with _received(reference) as received:
            yield whole(received, received.holds)
    elif isinstance(reference, ArchiveReference):
        from bundler.stores.archive.store import ArchiveStore

        archive = ArchiveStore(
            Path(reference.path), reference.tag, reference.digest, parts_from=tuple(parts_from or ()), progress=link.progress
        )
        yield whole(archive, archive.holds)
    elif isinstance(reference, LayoutReference):
        layout = _layout(reference, link)
        yield whole(layout, layout.holds)
    elif isinstance(reference, RegistryReference):
        from bundler.stores.archive.split_artifact import SplitStore

        yield SplitStore(link.open(reference))
    else:
        yield open_store(reference, link)


def at_home(store: Store) -> Store:
    """The store itself that has a bundle which was looked up, so that a registry knows its own neighbours."""
    from bundler.stores.archive.split_artifact import SplitStore

    return store.home() if isinstance(store, SplitStore) else store


def whole(store: Store, holds: Callable[[Descriptor], bool]) -> Store:
    """A store with what thin bundles in it leave out."""
    from bundler.stores.archive.thin import WholeStore
    from bundler.stores.layout.local import LocalStore

    return WholeStore(store, holds, lambda: LocalStore(LocalReference("")))


def _received(reference: ArchiveReference) -> AbstractContextManager[Received]:
    from bundler.stores.archive import pipe

    if sys.stdin.isatty():
        raise UsageError("no archive comes from a terminal", hint="Send one in: … | fps-bundle … -, or … - < FILE.")
    return pipe.received(sys.stdin.buffer, reference.tag, reference.digest)


def connect(host: str | None) -> DockerEngine:
    """Connect to the engine, and clean up first what a killed command left on it."""
    from bundler.cli import console
    from bundler.engines.docker import DockerEngine

    engine = DockerEngine(host)
    for action in engine.recover():
        console.warn(f"cleaned up after an interrupted run: {action}")
    return engine


@contextmanager
def migrator(
    engine: Engine,
    container: Container,
    endpoint: str | None,
    port: int | None,
    *,
    wait: float,
    deadline: float,
) -> Iterator[GrpcModel]:
    """The Migrator of a container: at a given endpoint, which is dialled from here, or where the engine's host finds it."""
    from bundler.models.grpc import GrpcModel
    from bundler.verbs import endpoint as endpoints

    where = endpoint or endpoints.find(container, engine.image(container.image_id).labels, port)
    with (
        nullcontext(where) if endpoint else engine.route(where) as dial,
        closing(GrpcModel(where, wait=wait, deadline=deadline, dial=dial)) as model,
    ):
        yield model
