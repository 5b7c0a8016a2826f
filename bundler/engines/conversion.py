"""Conversion of an engine's answers about containers and images to the values of `bundler.ports`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bundler.engines import answers, temporary_objects
from bundler.engines.lifecycle import health_check, restart_policy
from bundler.format.content import Digest
from bundler.format.metadata import Platform
from bundler.ports import Container, Image

_NO_TIME = "0001-01-01T00:00:00Z"  # Go's zero time

_ENGINE_NAME = re.compile("[0-9a-f]{64}")

_ANY_IPV4 = "0.0.0.0"  # noqa: S104 - compared with, never bound  # nosec B104
_ANY_ADDRESS = ("", _ANY_IPV4, "::")


def container(answer: answers.Inspected, host: str) -> Container:
    """Convert a container; the engine's published ports are reached at ``host``."""
    settings, config = answer.network_settings, answer.config
    addresses = tuple(network.ip_address for network in settings.networks.values() if network and network.ip_address)
    on_host = answer.host_config.network_mode == "host"
    return Container(
        id=answer.id,
        name=answer.name.removeprefix("/"),
        image_id=answer.image,
        image_name=config.image,
        running=answer.state.running,
        paused=answer.state.paused,
        addresses=(host,) if on_host else addresses,
        exposed=tuple(sorted(filter(None, map(tcp_port, config.exposed_ports)))),
        published=_published(settings.ports, host),
        mounts=_mounts(answer),
        instance=answer.state.instance,
        health_check=health_check(config.healthcheck),
        restart_policy=restart_policy(answer.host_config.restart_policy.name),
        labels=config.labels,
        health=answer.state.health.status,
        anonymous_volumes=tuple(mount.destination for mount in answer.mounts if is_anonymous(mount)),
        auto_remove=answer.host_config.auto_remove,
    )


def is_anonymous(mount: answers.Mount) -> bool:
    """Whether a mount is a volume that the engine named."""
    return mount.type == "volume" and _ENGINE_NAME.fullmatch(mount.name) is not None


def image(answer: answers.InspectedImage) -> Image | None:
    """Convert an image; None if the engine does not report its layers."""
    if answer.root_fs.type != "layers":
        return None
    return Image(
        id=answer.id,
        names=tuple(sorted({tag for tag in answer.repo_tags if not tag.startswith(f"{temporary_objects.IMAGES}:")})),
        repo_digests=tuple(sorted(answer.repo_digests)),
        platform=Platform(os=answer.os, architecture=answer.architecture, variant=answer.variant or None),
        diff_ids=tuple(map(Digest.parse, answer.root_fs.layers)),
        config=answer.settings,
        created="" if answer.created == _NO_TIME else answer.created,
        size=answer.size,
    )


def _published(ports: Mapping[str, list[answers.Binding] | None], host: str) -> dict[int, str]:
    published = {}
    for name, bindings in ports.items():
        if (port := tcp_port(name)) and bindings and bindings[0].host_port:
            address = bindings[0].host_ip
            published[port] = f"{host if address in _ANY_ADDRESS else address}:{bindings[0].host_port}"
    return published


def tcp_port(name: str) -> int | None:
    """Parse a port such as ``80/tcp``; None for another protocol."""
    number, _, protocol = name.partition("/")
    is_port = protocol == "tcp" and number.isascii() and number.isdigit() and len(number) <= 5
    return int(number) or None if is_port else None


def _mounts(answer: answers.Inspected) -> dict[str, str]:
    return {mount.destination: mount.type for mount in answer.mounts} | dict.fromkeys(answer.host_config.tmpfs, "tmpfs")
