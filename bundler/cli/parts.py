"""Makes the parts that a command needs. Imports happen on use, so that ``--help`` stays quick."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.format.reference import ArchiveReference, LayoutReference, LocalReference, Reference

if TYPE_CHECKING:
    from bundler.engines.docker import DockerEngine
    from bundler.models.grpc import GrpcModel
    from bundler.ports import Container, Engine, Store


def open_store(reference: Reference, *, plain_http: bool = False) -> Store:
    """The store that a reference speaks of, opened for the bundle that it names."""
    if isinstance(reference, LocalReference):
        from bundler.stores.local import LocalStore

        return LocalStore(reference)
    if isinstance(reference, LayoutReference):
        from bundler.stores.layout import LayoutStore

        return LayoutStore(Path(reference.path), reference.tag, reference.digest, readback=True)
    if isinstance(reference, ArchiveReference):
        from bundler.stores.archive import ArchiveStore

        return ArchiveStore(Path(reference.path), reference.tag, reference.digest)
    from bundler.stores.registry import RegistryStore

    return RegistryStore(reference, plain_http=plain_http)


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
    labels: Mapping[str, str],
    endpoint: str | None,
    port: int | None,
    *,
    wait: float,
    deadline: float,
) -> Iterator[GrpcModel]:
    """The Migrator of a container: at a given endpoint, which is dialled from here, or where the engine's host finds it."""
    from bundler import endpoint as endpoints
    from bundler.models.grpc import GrpcModel

    where = endpoint or endpoints.find(container, labels, port)
    with (
        nullcontext(where) if endpoint else engine.route(where) as dial,
        closing(GrpcModel(where, wait=wait, deadline=deadline, dial=dial)) as model,
    ):
        yield model
