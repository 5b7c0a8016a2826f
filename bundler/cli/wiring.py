"""Build what a command needs from its options. Imports happen on use, so that ``--help`` is fast."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.api import stores
from bundler.api.stores import StoreOptions
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
    from bundler.engines.process.engine import ProcessEngine
    from bundler.models.grpc import GrpcModel
    from bundler.ports import Container, Engine, Store
    from bundler.streams import Progress


def check_source(reference: Reference) -> None:
    """Raise `UsageError` for an archive, a list of its parts, or a layout that cannot be read."""
    if isinstance(reference, LayoutReference):
        named_files.check_directory(Path(reference.path))
    elif isinstance(reference, ArchiveReference) and not reference.is_pipe:
        from bundler.stores.archive.part_files import list_path

        path = Path(reference.path)
        is_split = not os.path.lexists(path) and os.path.lexists(list_path(path))
        named_files.check(list_path(path) if is_split else path)


def destination(text: str) -> Reference:
    """Parse the reference of a destination; raises `UsageError` for a text that could also be a path on this host."""
    reference = parse(text)
    if isinstance(reference, LocalReference | RegistryReference) and not is_exact(text, reference) and is_path(Path(text)):
        where = "the local store" if isinstance(reference, LocalReference) else f"the registry {reference.registry}"
        raise UsageError(
            f"{text!r} could be a path on this host, or a bundle in {where}",
            hint=f"For a file write {text}.tar, for a layout oci:{text}, for {where} {reference}.",
        )
    return reference


def is_path(path: Path) -> bool:
    """Whether a path exists, or could be created in an existing directory."""
    return os.path.lexists(path) or (len(path.parts) > 1 and path.parent.is_dir())


def push_target(text: str) -> Reference:
    """Parse the destination of a push; raises `UsageError` for a pipe, because a push prints its result there."""
    reference = destination(text)
    if isinstance(reference, ArchiveReference) and reference.is_pipe:
        raise UsageError("push cannot write to a pipe", hint="Push into the local store, then: fps-bundle copy BUNDLE - | …")
    return reference


def check_one_pipe(references: Sequence[Reference]) -> None:
    """Raise `UsageError` when more than one bundle is to be read from the pipe."""
    if sum(isinstance(it, ArchiveReference) and it.is_pipe for it in references) > 1:
        raise UsageError("only one bundle can be read from a pipe", hint="Copy the other one to a file or the local store first.")


@dataclass(frozen=True)
class Link:
    """How to speak to a registry, from the options of a command; ``terminal`` shows failed attempts."""

    plain_http: bool = False
    limit_rate: str | None = None
    parallel: int = Limits.parallel
    timeout: float = Limits.timeout
    verify_written: bool | None = None
    terminal: Progress | None = None

    @property
    def rate(self) -> int | None:
        """The limit in bytes per second."""
        return units.size(self.limit_rate) or None if self.limit_rate is not None else None

    @property
    def verify_files(self) -> bool:
        """Whether content that is written to a file or layout is read back."""
        return self.store_options.verify_files

    @property
    def store_options(self) -> StoreOptions:
        from bundler.cli.console import Terminal

        progress = self.terminal or Terminal()  # so that every command shows waits
        return StoreOptions(self.plain_http, self.rate, self.parallel, self.timeout, self.verify_written, progress)


def open_store(reference: Reference, link: Link | None = None) -> Store:
    """Open a store to write to, or to read what it contains itself."""
    return stores.open_plain(reference, (link or Link()).store_options)


@contextmanager
def opened(reference: Reference, link: Link, parts_from: Sequence[Path] | None = None) -> Iterator[Store]:
    """Open the store of a bundle to read, during the block; raises `UsageError` for a file that cannot be read."""
    check_source(reference)
    with stores.opened(reference, link.store_options, parts_from or ()) as store:
        yield store


def connect(host: str | None) -> DockerEngine:
    """Connect to the engine, and warn about what an interrupted run left on it."""
    from bundler.api.engines import connect_engine
    from bundler.cli.console import Terminal

    return connect_engine(host, Terminal())


def connect_process(pid: int, base: str, link: Link) -> ProcessEngine:
    """Read the container of a process in place of an engine's."""
    from bundler.api import processes

    options = link.store_options
    return processes.connect_process(pid, base, store_options=options, progress=options.progress)


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
    """Connect to the Migrator of a container by the options of a command, during the block."""
    from bundler.api import engines

    with engines.migrator(engine, container, engines.MigratorOptions(endpoint, port, wait, deadline)) as model:
        yield model
