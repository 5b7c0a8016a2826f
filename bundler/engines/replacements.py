"""A container is replaced by one of another image with the same run options, or by the one that it replaced."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from bundler.engines import answers, container_settings, exchange, podman_settings, temporary_objects
from bundler.engines.connection import Client, errors
from bundler.engines.container_calls import ContainerCalls
from bundler.engines.containers import Containers
from bundler.engines.engine_facts import EngineFacts
from bundler.engines.exchange import Found, Plan
from bundler.engines.temporary_containers import TemporaryContainers
from bundler.errors import EngineError, NotFoundError, UsageError
from bundler.localfs import state_directory
from bundler.ports import Container, Image

_ADDRESSES = container_settings.LABEL_PREFIX + "addresses"
"""On a Podman container that replaced one whose addresses Podman chose: ``assigned``."""


class Replacements:
    """Replaces containers of an engine, and finishes or undoes what a killed process began."""

    def __init__(self, api: Client, facts: EngineFacts, containers: Containers, temporary: TemporaryContainers) -> None:
        self._api = api
        self._facts = facts
        self._containers = containers
        self._temporary = temporary
        self._calls = ContainerCalls(api, facts, temporary)

    def check(self, old: Container) -> None:
        """Raise an error when a container cannot be created again with its options, or its previous name is taken."""
        if self._facts.is_podman and (options := podman_settings.unkept(self._calls.podman_settings(old.id))):
            raise UsageError(
                f"the container {old.name} cannot be replaced: Podman cannot give its replacement {', '.join(options)}",
                hint="Apply the bundle without --replace, and create the container anew from the new image.",
            )
        if not self._calls.can_set_policy and old.restart_policy == "always":
            raise EngineError(
                f"the container {old.name} cannot be replaced: its restart policy is always, and Podman {self._facts.info.version} "
                "cannot change that of the old container, which would be started beside the new one",
                hint="Create it with the policy unless-stopped or on-failure.",
            )
        self._older(old)

    @contextmanager
    def replaced(self, old: Container, image: Image, name: str, exports: Sequence[str]) -> Iterator[Container]:
        """Run a new container of ``image``, by its ``name``, in place of ``old``; see `ports.ContainerReplacement`."""
        older = self._older(old)
        found = self._found(old)
        notes = temporary_objects.noted(state_directory.directory(), self._api.where, "container")
        with _locked(older), notes as (temporary, note):
            try:
                new = self._create(old, image, name, exports, temporary)
                with exchange.exchanged(self._calls, self._notes(), self._plan(found, new, temporary, older=older)):
                    yield self._containers.container(new)
            finally:
                self._temporary.remove(temporary)
                note.settle()

    @contextmanager
    def exchanged(self, current: Container) -> Iterator[Container]:
        """Run the container that ``current`` replaced, or that replaced it, in place of ``current``."""
        previous = self._previous(current)
        if not previous:
            raise NotFoundError(
                f"there is no container {exchange.previous_name(current.name)}",
                hint="Only a container that was replaced can be undone.",
            )
        plan = self._plan(self._found(current), previous.id, uuid.uuid4().hex[:12], created="")
        with _locked(previous.id), exchange.exchanged(self._calls, self._notes(), plan):
            yield self._containers.container(previous.id)

    def probed(self, container: Container) -> Container:
        """Look a container up again, after its health check was run where the engine does not do that by itself."""
        found = self._containers.container(container.id)
        if not found.health_check or not found.running or found.health == "healthy":
            return found
        self._calls.run_health_check(container.id)
        return self._containers.container(container.id)

    def recover(self) -> list[str]:
        """Finish or undo the replacements that a killed process of ours began on this engine; returns what was done."""
        return exchange.recover(self._calls, self._notes(), self._api.where)

    def _create(self, old: Container, image: Image, name: str, exports: Sequence[str], temporary: str) -> str:
        document, labels = self._document(old)
        settings = answers.read(answers.Settings, document)
        wanted = container_settings.Replacing(name, exports, labels, policy=not self._calls.can_set_policy)
        with errors(self._api, f"inspecting the image of {old.name}"):
            of_old = answers.read(answers.InspectedImage, self._api.inspect_image(old.image_id))  # type: ignore[no-untyped-call]
        request = container_settings.creation(settings, of_old, wanted, self._facts.host_name)
        created = self._calls.create(temporary, request.body, request.networks)
        found = self._containers.container(created)
        if found.image_id.removeprefix("sha256:") != image.id.removeprefix("sha256:"):
            raise EngineError(f"the engine created a container of {found.image_id} when asked for {name}, which is {image.id}")
        return created

    def _document(self, old: Container) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Inspect a container, in Docker's terms, and return the labels of its replacement too."""
        labels = {container_settings.LABEL_REPLACED: old.id}
        with errors(self._api, f"inspecting the container {old.name}"):
            document = self._api.inspect_container(old.id)
            if not self._facts.is_podman:
                return document, labels
            image = answers.read(answers.InspectedImage, self._api.inspect_image(old.image_id))  # type: ignore[no-untyped-call]
            podman = self._calls.podman_settings(old.id)
            keep = podman_settings.keeps_addresses(podman, old.labels.get(_ADDRESSES, ""))
            if not keep:
                labels[_ADDRESSES] = podman_settings.ASSIGNED
            return podman_settings.in_docker_terms(document, podman, image.config, keep_addresses=keep), labels

    def _plan(self, old: Found, new: str, unique: str, *, created: str = "yes", older: str = "") -> Plan:
        return Plan(
            host=self._api.where,
            name=old.name,
            old=old.id,
            new=new,
            unique=unique.rpartition("-")[2],
            created=created,
            running="yes" if old.running else "",
            instance=old.instance,
            policy=old.policy,
            retries=old.retries,
            older=older,
        )

    def _found(self, container: Container) -> Found:
        found = self._calls.find(container.id)
        if not found:
            raise NotFoundError(f"the container {container.name} no longer exists")
        return found

    def _older(self, old: Container) -> str:
        """Return the ID of the container that has the previous name; raises `UsageError` unless it was replaced by ``old``."""
        previous = self._previous(old)
        return previous.id if previous else ""

    def _previous(self, current: Container) -> Container | None:
        name = exchange.previous_name(current.name)
        found = self._calls.find(name)
        if not found:
            return None
        previous = self._containers.container(found.id)
        pairs = ((current, previous), (previous, current))
        if not any(one.labels.get(container_settings.LABEL_REPLACED) == other.id for one, other in pairs):
            raise UsageError(
                f"the container {name} exists, and {current.name} did not replace it",
                hint="Rename it, or remove it if it is not needed.",
            )
        return previous

    def _notes(self) -> Path:
        return exchange.directory(state_directory.directory())


def _locked(container: str) -> AbstractContextManager[None]:
    """Lock a container, which another process may read; raises `BusyError`. An empty ID has no effect."""
    return state_directory.hold("container", container) if container else nullcontext()
