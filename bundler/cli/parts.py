"""Makes the parts that a command needs. Imports happen on use, so that ``--help`` stays quick."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.format import units
from bundler.format.reference import ArchiveReference, LayoutReference, LocalReference, Reference, RegistryReference
from bundler.stores.limits import Limits

if TYPE_CHECKING:
    from bundler.engines.docker import DockerEngine
    from bundler.models.grpc import GrpcModel
    from bundler.ports import Container, Engine, Progress, Store


@dataclass(frozen=True)
class Link:
    """How a registry may be spoken to, as the command line says it; ``terminal`` is told of attempts that fail."""

    plain_http: bool = False
    limit_rate: str | None = None
    parallel: int = Limits.parallel
    timeout: float = Limits.timeout
    verify_remote: bool = False
    terminal: Progress | None = None

    @property
    def rate(self) -> int | None:
        return units.size(self.limit_rate) or None if self.limit_rate else None

    def open(self, reference: RegistryReference) -> Store:
        from bundler.stores.registry import RegistryStore

        return RegistryStore(
            reference,
            plain_http=self.plain_http,
            limits=Limits(rate=self.rate, parallel=self.parallel, timeout=self.timeout),
            tell=self.terminal.note if self.terminal else None,
            verify_remote=self.verify_remote,
        )


def open_store(reference: Reference, link: Link | None = None) -> Store:
    """The store that a reference speaks of, opened for the bundle that it names."""
    if isinstance(reference, LocalReference):
        from bundler.stores.local import LocalStore

        return LocalStore(reference)
    if isinstance(reference, LayoutReference):
        from bundler.stores.layout import LayoutStore

        return LayoutStore(Path(reference.path), reference.tag, reference.digest)
    if isinstance(reference, ArchiveReference):
        from bundler.stores.archive import ArchiveStore

        return ArchiveStore(Path(reference.path), reference.tag, reference.digest)
    return (link or Link()).open(reference)


def open_target(reference: Reference, link: Link) -> Store | LocalReference:
    """Where a push goes; the local store stays a name, because there the state is packed anyway."""
    return reference if isinstance(reference, LocalReference) else open_store(reference, link)


def connect(host: str | None) -> DockerEngine:
    """The engine; what a killed command left on it is put right first."""
    from bundler import console
    from bundler.engines.docker import DockerEngine

    engine = DockerEngine(host)
    for mended in engine.mend():
        console.warn(f"an earlier fps-bundle died: {mended}")
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
    from bundler import endpoint as endpoints
    from bundler.models.grpc import GrpcModel

    where = endpoint or endpoints.find(container, engine.image(container.image_id).labels, port)
    with (
        nullcontext(where) if endpoint else engine.route(where) as dial,
        closing(GrpcModel(where, wait=wait, deadline=deadline, dial=dial)) as model,
    ):
        yield model
