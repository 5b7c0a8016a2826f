"""From what an engine tells of containers and images to the values that the verbs know."""

from __future__ import annotations

from collections.abc import Mapping

from bundler.engines import answers, temporary_objects
from bundler.engines.lifecycle import health_check, restart_policy
from bundler.format.content import Digest
from bundler.format.metadata import Platform
from bundler.ports import Container, Image

_NO_TIME = "0001-01-01T00:00:00Z"  # Go's word for a time that is not set

_ANY_IPV4 = "0.0.0.0"  # noqa: S104 - compared with, not listened on  # nosec B104
_ANY_ADDRESS = ("", _ANY_IPV4, "::")


def container(found: answers.Inspected, host: str) -> Container:
    """A container; ``host`` is where the published ports of its engine are reached."""
    settings, config = found.network_settings, found.config
    addresses = tuple(network.ip_address for network in settings.networks.values() if network and network.ip_address)
    on_host = found.host_config.network_mode == "host"
    return Container(
        id=found.id,
        name=found.name.removeprefix("/"),
        image_id=found.image,
        image_name=config.image,
        running=found.state.running,
        paused=found.state.paused,
        addresses=(host,) if on_host else addresses,
        exposed=tuple(sorted(filter(None, map(_tcp_port, config.exposed_ports)))),
        published=_published(settings.ports, host),
        mounts=_mounts(found),
        instance=found.state.instance,
        health_check=health_check(config.healthcheck),
        restart_policy=restart_policy(found.host_config.restart_policy.name),
        labels=config.labels,
    )


def image(found: answers.InspectedImage) -> Image | None:
    """An image; None of which the engine does not tell the layers."""
    if found.root_fs.type != "layers":
        return None
    return Image(
        id=found.id,
        names=tuple(sorted({tag for tag in found.repo_tags if not tag.startswith(f"{temporary_objects.IMAGES}:")})),
        repo_digests=tuple(sorted(found.repo_digests)),
        platform=Platform(os=found.os, architecture=found.architecture, variant=found.variant or None),
        diff_ids=tuple(map(Digest.parse, found.root_fs.layers)),
        config=found.settings,
        created="" if found.created == _NO_TIME else found.created,
        size=found.size,
    )


def _published(ports: Mapping[str, list[answers.Binding] | None], host: str) -> dict[int, str]:
    published = {}
    for name, bindings in ports.items():
        if (port := _tcp_port(name)) and bindings and bindings[0].host_port:
            address = bindings[0].host_ip
            published[port] = f"{host if address in _ANY_ADDRESS else address}:{bindings[0].host_port}"
    return published


def _tcp_port(name: str) -> int | None:
    """The number of a port in the engine's words, such as ``80/tcp``; None for another protocol."""
    number, _, protocol = name.partition("/")
    is_port = protocol == "tcp" and number.isascii() and number.isdigit() and len(number) <= 5
    return int(number) or None if is_port else None


def _mounts(found: answers.Inspected) -> dict[str, str]:
    return {mount.destination: mount.type for mount in found.mounts} | dict.fromkeys(found.host_config.tmpfs, "tmpfs")
