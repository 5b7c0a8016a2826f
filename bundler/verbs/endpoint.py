"""Where the Migrator of a container listens."""

from __future__ import annotations

from collections.abc import Mapping

from bundler.errors import ModelError, UsageError
from bundler.ports import Container

PORT_LABEL = "t1.fps.model.migrator.port"
"""Image label by which a model's author says which port serves the Migrator."""

_HINT = f"Say where it is with --port or --endpoint HOST:PORT, or label the image with {PORT_LABEL}."


def find(container: Container, labels: Mapping[str, str], port: int | None) -> str:
    """The ``HOST:PORT`` of the Migrator: the given, labelled or only exposed port, at its published address or the container's IP.

    Raises `ModelError` when that leaves none.
    """
    port = port or _labelled(labels) or _only_exposed(container)
    if port in container.published:
        return container.published[port]
    if container.addresses:
        return f"{container.addresses[0]}:{port}"
    raise ModelError(
        f"port {port} of {container.name} cannot be reached: it is not published and the container has no address",
        hint=f"Run the model with a network, or publish the port: docker run -p 127.0.0.1::{port} …",
    )


def check(given: str) -> str:
    """A ``HOST:PORT`` that somebody wrote; raises `UsageError` for what is none."""
    host, _, port = given.rpartition(":")
    if not host or not _is_port(port):
        raise UsageError(f"{given!r} is no endpoint", hint="Write HOST:PORT, such as 127.0.0.1:50051.")
    return given


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


def _labelled(labels: Mapping[str, str]) -> int | None:
    label = labels.get(PORT_LABEL)
    if label is None:
        return None
    if not _is_port(label):
        raise ModelError(f"the label {PORT_LABEL} is {label[:40]!r}, which is no port", hint=_HINT)
    return int(label)


def _only_exposed(container: Container) -> int:
    if len(container.exposed) != 1:
        ports = ", ".join(map(str, container.exposed)) or "none"
        raise ModelError(f"cannot tell which port of {container.name} serves the Migrator; it exposes {ports}", hint=_HINT)
    return container.exposed[0]
