"""Changes of containers, each verified by what the engine reports afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from bundler.engines import answers
from bundler.engines.connection import LOOK_AT_LOG, Client, NotFound, errors, is_refusal, url
from bundler.engines.engine_facts import EngineFacts
from bundler.engines.exchange import NO_POLICY, Found
from bundler.engines.temporary_containers import STOP_TIMEOUT, TemporaryContainers
from bundler.errors import EngineError, ModelError

_PODMAN_WITH_UPDATE = (5, 1)
"""The first version of Podman that can change a restart policy; earlier ones accept the request and ignore it."""
_PODMAN_API = "/v4.0.0/libpod/containers"


class ContainerCalls:
    """The changes that an exchange of two containers consists of."""

    def __init__(self, api: Client, facts: EngineFacts, temporary: TemporaryContainers) -> None:
        self._api = api
        self._facts = facts
        self._temporary = temporary

    @property
    def can_set_policy(self) -> bool:
        """Whether the engine can change a container's restart policy."""
        return not self._facts.is_podman or _version(self._facts.info.version) >= _PODMAN_WITH_UPDATE

    def find(self, container: str) -> Found | None:
        """Find a container by ID or complete name."""
        with errors(self._api, f"looking for the container {container}"):
            try:
                found = answers.read(answers.Inspected, self._api.inspect_container(container))
            except NotFound:
                return None
        name = found.name.removeprefix("/")
        if container not in (name, found.id):
            return None
        policy = found.host_config.restart_policy
        return Found(
            found.id, name, found.state.running, found.state.instance, policy.name or NO_POLICY, str(policy.maximum_retry_count)
        )

    def create(self, name: str, body: Mapping[str, Any], networks: Mapping[str, Mapping[str, Any]]) -> str:
        """Create a container, connected to ``networks`` too; returns its ID."""
        with errors(self._api, f"creating the container {name}"):
            response = self._api.post(url(self._api, "/containers/create"), json=body, params={"name": name})
            response.raise_for_status()
            created = answers.read(answers.Created, answers.parse(response.content)).id
            for network, endpoint in networks.items():
                path = url(self._api, f"/networks/{quote(network, safe='')}/connect")
                self._api.post(path, json={"Container": created, "EndpointConfig": endpoint}).raise_for_status()
        self._verify(self.find(created) is not None, f"created the container {name}")
        return created

    def rename(self, container: str, name: str) -> None:
        with errors(self._api, f"renaming the container {container[:12]} to {name}"):
            self._api.rename(container, name)
        found = self.find(container)
        self._verify(found is not None and found.name == name, f"renamed the container {container[:12]} to {name}")

    def stop(self, container: str) -> None:
        with errors(self._api, f"stopping the container {container[:12]}"):
            seconds = answers.read(answers.Inspected, self._api.inspect_container(container)).config.stop_timeout
            self._api.stop(container, timeout=STOP_TIMEOUT if seconds is None else seconds)
        found = self.find(container)
        self._verify(found is None or not found.running, f"stopped the container {container[:12]}")

    def start(self, container: str) -> None:
        """Raise `ModelError` when the engine cannot start the container; it may end at once after a start."""
        try:
            with errors(self._api, f"starting the container {container[:12]}"):
                self._api.start(container)
        except EngineError as error:
            if is_refusal(error):
                raise ModelError(
                    error.message, hint="Correct the cause that the engine reports, then run the command again."
                ) from error
            raise

    def remove(self, container: str) -> None:
        """Stop and remove a container and its anonymous volumes; a missing one is not an error."""
        self._temporary.remove(container)

    def set_policy(self, container: str, policy: str, retries: str) -> None:
        """Set the restart policy, where the engine can change it."""
        found = self.find(container)
        if not self.can_set_policy or not found or (found.policy, found.retries) == (policy, retries):
            return
        with errors(self._api, f"setting the restart policy of the container {container[:12]}"):
            if self._facts.is_podman:
                parameters = {"restartPolicy": policy, **({"restartRetries": retries} if policy == "on-failure" else {})}
                path = f"{self._api.base_url}{_PODMAN_API}/{container}/update"
                self._api.post(path, params=parameters, json={}).raise_for_status()
            else:
                wanted = {"RestartPolicy": {"Name": policy, "MaximumRetryCount": int(retries)}}
                self._api.post(url(self._api, f"/containers/{container}/update"), json=wanted).raise_for_status()
        found = self.find(container)
        is_set = found is not None and found.policy == policy
        self._verify(is_set, f"set the restart policy of the container {container[:12]} to {policy}")

    def run_health_check(self, container: str) -> None:
        """Run a container's health check now, on Podman, which runs it by timers of systemd only."""
        if not self._facts.is_podman:
            return
        with errors(self._api, f"running the health check of the container {container[:12]}"):
            response = self._api.get(f"{self._api.base_url}{_PODMAN_API}/{container}/healthcheck")
            if response.status_code not in _NOT_RUNNABLE:
                response.raise_for_status()

    def podman_settings(self, container: str) -> answers.PodmanSettings:
        """What Podman reports about a container in its own API alone."""
        with errors(self._api, f"inspecting the container {container[:12]}"):
            response = self._api.get(f"{self._api.base_url}{_PODMAN_API}/{container}/json")
            response.raise_for_status()
            return answers.read(answers.PodmanSettings, answers.parse(response.content))

    def _verify(self, holds: bool, what: str) -> None:
        if not holds:
            raise EngineError(f"the engine reported that it {what}, but it did not", hint=LOOK_AT_LOG)


_NOT_RUNNABLE = (404, 409)
"""Answers to a request to run the health check of a container that has none, or does not run."""


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
