"""Lookup of containers: state, size and log."""

from __future__ import annotations

from urllib.parse import urlsplit

from bundler.engines import answers, container_log, conversion
from bundler.engines.connection import TIMEOUT, Client, NotFound, NullResource, body, errors, url
from bundler.errors import NotFoundError
from bundler.ports import Container

LOG_LINES = 20
"""Lines of a container's log that are shown when it failed."""

MOST_NAMES = 20
"""Container names that a hint lists."""

_LOOPBACK = "127.0.0.1"


class Containers:
    """The containers of an engine; a log may send nothing for ``silence`` seconds."""

    def __init__(self, api: Client, silence: float) -> None:
        self._api = api
        self._silence = silence
        address = urlsplit(api.where)
        is_remote = address.scheme in ("tcp", "http", "https")
        self._host = address.hostname or _LOOPBACK if is_remote else _LOOPBACK  # published ports are reached there

    def container(self, name: str) -> Container:
        return conversion.container(self._inspect(name), self._host)

    def state(self, container_id: str, what: str = "a container") -> answers.State | None:
        """The state of a container; None for a removed one. ``what`` names it in messages."""
        with errors(self._api, f"inspecting {what}"):
            try:
                return answers.read(answers.Stated, self._api.inspect_container(container_id)).state
            except NotFound:
                return None

    def sized(self, container: Container) -> answers.Inspected:
        """Inspect a container with the size of its files, and of those that differ from its image."""
        with errors(self._api, f"requesting the size of {container.name}"):
            response = self._api.get(url(self._api, f"/containers/{container.id}/json"), params={"size": "true"}, timeout=TIMEOUT)
            response.raise_for_status()
            return answers.read(answers.Inspected, answers.parse(response.content))

    def logs(self, container: Container) -> str:
        tty = self._inspect(container.id).config.tty
        parameters = {"stdout": "1", "stderr": "1", "tail": str(LOG_LINES)}
        with (
            errors(self._api, f"reading the log of {container.name}"),
            self._api.get(url(self._api, f"/containers/{container.id}/logs"), params=parameters, stream=True) as response,
        ):
            response.raise_for_status()
            return container_log.text(body(response, self._silence), tty=tty)

    def _inspect(self, name: str) -> answers.Inspected:
        with errors(self._api, f"looking for the container {name!r}"):
            try:
                document = self._api.inspect_container(name)
            except (NotFound, NullResource):
                document = self._api.inspect_container(self._by_prefix(name))
            return answers.read(answers.Inspected, document)

    def _by_prefix(self, prefix: str) -> str:
        """Return the ID of the one container whose name or ID begins with ``prefix``."""
        containers = answers.read_list(answers.Listed, self._api.containers(all=True))
        matches = {
            container.id: name.removeprefix("/")
            for container in containers
            for name in container.names
            if prefix and (name.removeprefix("/").startswith(prefix) or container.id.startswith(prefix))
        }
        if len(matches) == 1:
            return next(iter(matches))
        if matches:
            raise NotFoundError(
                f"several containers begin with {prefix!r}", hint=f"Name one of: {', '.join(sorted(matches.values())[:MOST_NAMES])}"
            )
        names = sorted(name.removeprefix("/") for container in containers for name in container.names)
        raise NotFoundError(
            f"there is no container {prefix!r}",
            hint=f"Available: {', '.join(names[:MOST_NAMES])}" if names else "Start a container; the engine has none.",
        )
