"""Containers that another program creates anew by its own configuration, so that a replacement here would not last."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from bundler.errors import UsageError
from bundler.ports import Container

_UNKNOWN = "NAME"


def check(container: Container) -> None:
    """Raise `UsageError` for a container that another program manages, as its labels tell.

    The error has the command by which it is replaced there.
    """
    for label, (manager, command) in _MANAGERS.items():
        if label in container.labels:
            raise UsageError(
                f"the container {container.name} cannot be replaced: it belongs to {manager}, which would bring the old image back",
                hint="Run apply without --replace, set the new image NAME:TAG there, then:",
                command=command(lambda label: shlex.quote(container.labels.get(label) or _UNKNOWN)),
            )


Label = Callable[[str], str]
"""Returns the value of a label, quoted for a shell."""


def _compose(program: str, prefix: str) -> Callable[[Label], str]:
    return lambda label: f"{program} --project-name {label(f'{prefix}.project')} up --detach {label(f'{prefix}.service')}"


def _swarm(label: Label) -> str:
    return f"docker service update --image NAME:TAG {label('com.docker.swarm.service.name')}"


def _kubernetes(label: Label) -> str:
    pod, container = label("io.kubernetes.pod.name"), label("io.kubernetes.container.name")
    return f"kubectl --namespace {label('io.kubernetes.pod.namespace')} set image pod/{pod} {container}=NAME:TAG"


def _systemd(label: Label) -> str:
    return f"systemctl restart {label('PODMAN_SYSTEMD_UNIT')}"


_MANAGERS: Mapping[str, tuple[str, Callable[[Label], str]]] = {
    "com.docker.swarm.service.name": ("a Swarm service", _swarm),
    "com.docker.compose.project": ("Docker Compose", _compose("docker compose", "com.docker.compose")),
    "io.podman.compose.project": ("podman-compose", _compose("podman-compose", "io.podman.compose")),
    "io.kubernetes.pod.name": ("Kubernetes", _kubernetes),
    "PODMAN_SYSTEMD_UNIT": ("a systemd unit", _systemd),
}
"""By the label that a program sets on its containers: the program, and the command that creates them anew there."""
