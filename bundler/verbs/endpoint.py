"""Find the endpoint of a container's Migrator."""

from __future__ import annotations

from collections.abc import Mapping

from bundler.errors import ModelError, UsageError
from bundler.ports import Container

PORT_LABEL = "t1.fps.model.migrator.port"
"""Image label with the port of the Migrator."""

_HINT = f"Use --port or --endpoint HOST:PORT, or set the image label {PORT_LABEL}."


def find(container: Container, labels: Mapping[str, str], port: int | None) -> str:
    """Return ``HOST:PORT`` of the Migrator: its published address, or the container's IP.

    The port is the given, the labelled or the only exposed one. Raises `ModelError` when there is no such endpoint.
    """
    port = port or _labelled(labels) or _only_exposed(container)
    if port in container.published:
        return container.published[port]
    if container.addresses:
        return f"{container.addresses[0]}:{port}"
    raise ModelError(
        f"port {port} of {container.name} cannot be reached: it is not published and the container has no address",
        hint=f"Run the model with a network, publish the port (docker run -p 127.0.0.1::{port} …), or use --endpoint HOST:PORT.",
    )


def check(given: str) -> str:
    """Return a given ``HOST:PORT``; raises `UsageError` for an invalid one."""
    host, _, port = given.rpartition(":")
    if not host or not _is_port(port):
        raise UsageError(f"{given!r} is not an endpoint", hint="Use HOST:PORT, such as 127.0.0.1:50051.")
    return given


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


def _labelled(labels: Mapping[str, str]) -> int | None:
    label = labels.get(PORT_LABEL)
    if label is None:
        return None
    if not _is_port(label):
        raise ModelError(f"the label {PORT_LABEL} is {label[:40]!r}, which is not a port", hint=_HINT)
    return int(label)


def _only_exposed(container: Container) -> int:
    if len(container.exposed) != 1:
        ports = ", ".join(map(str, container.exposed)) or "none"
        raise ModelError(f"cannot tell which port of {container.name} serves the Migrator; it exposes {ports}", hint=_HINT)
    return container.exposed[0]
