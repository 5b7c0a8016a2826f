"""Connect to the container engine, and to the Migrator of a container."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundler.streams import NULL_PROGRESS, Progress

if TYPE_CHECKING:
    from bundler.engines.docker import DockerEngine
    from bundler.models.grpc import GrpcModel
    from bundler.ports import Container, Engine


def connect_engine(host: str | None = None, progress: Progress = NULL_PROGRESS) -> DockerEngine:
    """Connect to Docker or Podman at ``host``, by default where ``docker`` would connect; raises `EngineError`.

    What an interrupted run left on the engine, such as a paused container, is cleaned up first, with a warning.
    """
    from bundler.engines.docker import DockerEngine

    resume_abandoned(progress)
    engine = DockerEngine(host)
    for cleaned in engine.recover():
        progress.warn(f"cleaned up after an interrupted run: {cleaned}")
    return engine


def resume_abandoned(progress: Progress) -> None:
    """Resume the containers of processes that killed runs left paused."""
    from bundler.engines.process import frozen_cgroup

    for cleaned in frozen_cgroup.recover():
        progress.warn(f"cleaned up after an interrupted run: {cleaned}")


@dataclass(frozen=True)
class MigratorOptions:
    """How to reach the Migrator of a container, and how long to wait for it. Times are in seconds."""

    endpoint: str | None = None
    """``HOST:PORT`` as seen from this host; by default found from the labels and ports of the container."""
    port: int | None = None
    """The port in the container; by default the labelled or only exposed one."""
    wait: float = 30
    """How long the Migrator may take to answer at all."""
    deadline: float = 600
    """How long Export may take, or a new model between two requests of its Ingest."""


@contextmanager
def migrator(engine: Engine, container: Container, options: MigratorOptions) -> Iterator[GrpcModel]:
    """Connect to the Migrator of a container during the block; raises `ModelError` when its endpoint cannot be found."""
    from bundler.models.grpc import GrpcModel
    from bundler.verbs import endpoint as endpoints

    given = options.endpoint
    where = given or endpoints.find(container, engine.image(container.image_id).labels, options.port)
    with (
        nullcontext(where) if given else engine.route(where) as dial,
        closing(GrpcModel(where, wait=options.wait, deadline=options.deadline, dial=dial)) as model,
    ):
        yield model
