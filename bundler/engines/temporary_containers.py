"""Containers that exist for the length of a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from bundler.engines import answers, temporary_objects
from bundler.engines.connection import LOOK_AT_LOG, Client, NotFound, errors, gpus, memory
from bundler.engines.containers import Containers
from bundler.errors import EngineError, ModelError
from bundler.localfs import state_directory
from bundler.ports import Container, Image, RunOptions

STOP_TIMEOUT = 10
"""Seconds in which a container can end itself, unless it sets its own number; without any Podman kills it at once."""


class TemporaryContainers:
    """Creates, starts and stops containers, and removes those that it created."""

    def __init__(self, api: Client, containers: Containers) -> None:
        self._api = api
        self._containers = containers

    @contextmanager
    def started(self, container: Container) -> Iterator[Container]:
        with errors(self._api, f"starting the container {container.name}"):
            self._api.start(container.id)
        try:
            yield self._containers.container(container.id)
        finally:
            with errors(self._api, f"stopping the container {container.name}"):
                seconds = answers.read(answers.Inspected, self._api.inspect_container(container.id)).config.stop_timeout
                self._api.stop(container.id, timeout=STOP_TIMEOUT if seconds is None else seconds)

    @contextmanager
    def created(self, image: Image) -> Iterator[Container]:
        with self.unstarted(image) as name:
            yield self._containers.container(name)

    def unstarted(self, image: Image) -> AbstractContextManager[str]:
        """Create a container that is never started; gives its name."""
        return self._temporary(image, command=["never-started"], network_disabled=True)

    @contextmanager
    def running(self, image: Image, options: RunOptions, *, keep: bool) -> Iterator[Container]:
        host_config = self._api.create_host_config(
            network_mode=options.network or None,
            mem_limit=memory(options.memory) if options.memory else None,
            device_requests=gpus(options.gpus) if options.gpus else None,
        )
        with self._temporary(image, keep=keep, environment=list(options.environment), host_config=host_config) as name:
            with errors(self._api, "starting the new container"):
                self._api.start(name)
            yield self._containers.container(name)

    def remove(self, name: str) -> bool:
        """Remove a temporary container; False if it does not exist."""
        with errors(self._api, f"removing the temporary container {name}"):
            try:
                self._api.remove_container(name, v=True, force=True)
            except NotFound:
                return False
            with contextlib.suppress(NotFound):
                self._api.inspect_container(name)
                raise EngineError(
                    f"the engine reported that it removed the container {name}, but it still exists", hint=LOOK_AT_LOG
                )
        return True

    @contextmanager
    def _temporary(self, image: Image, *, keep: bool = False, **options: Any) -> Iterator[str]:
        """Create a container for the length of the block, and give its name; with ``keep`` it is kept after a `ModelError`."""
        with temporary_objects.noted(state_directory.directory(), self._api.where, "container") as (name, note):
            kept = False
            try:
                self._create(image, name, options)
                yield name
            except ModelError as error:
                if keep:
                    kept = True
                    error.hint = f"{error.hint} The new container is kept: {name}".strip()
                raise
            finally:
                if not kept:
                    self.remove(name)
                note.settle()

    def _create(self, image: Image, name: str, options: dict[str, Any]) -> None:
        with errors(self._api, f"creating a container of {image.id}"):
            created = answers.read(answers.Created, self._api.create_container(image.id, name=name, **options))
            try:
                container = answers.read(answers.Inspected, self._api.inspect_container(name))
            except NotFound:
                container = None
        if not container or container.id != created.id:
            raise EngineError(
                f"the engine reported that it created the container {name}, but it has no such container", hint=LOOK_AT_LOG
            )
