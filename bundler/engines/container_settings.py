"""How a container is created again from another image, with the same run options.

Inspection gives all settings of a container, and those of its image among them. The rules here keep what differs from that
image, so that the new image's own defaults apply. They are functions of values: answers of the engine in, a request out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bundler.engines import answers, container_mounts, container_networks
from bundler.engines.container_mounts import Volumes

LABEL_PREFIX = "fps.bundle.container."
LABEL_REPLACED = LABEL_PREFIX + "replaced"
"""On a container that replaced another one: the ID of that one."""

_CONFIG = (
    "Domainname",
    "Healthcheck",
    "MacAddress",
    "NetworkDisabled",
    "OpenStdin",
    "StdinOnce",
    "StopSignal",
    "StopTimeout",
    "Tty",
    "User",
    "WorkingDir",
)
"""Settings that are kept if they are set and differ from the image; others have rules of their own."""

_OTHER_RULES = ("AutoRemove", "Binds", "ContainerIDFile", "Links", "Mounts", "PortBindings", "RestartPolicy")
"""Run options that are not copied as they are."""

_MEANT_EMPTY = ("Init", "MemorySwappiness", "MaskedPaths", "ReadonlyPaths")
"""Run options in which an empty value differs from none."""

_SHORT_ID = 12


@dataclass(frozen=True)
class Creation:
    """A request to create a container, and the networks to connect it to before it is started."""

    body: Mapping[str, Any]
    networks: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Replacing:
    """What the new container has of its own: image and labels, and the paths at which it has state of its own (``exports``)."""

    image: str
    exports: Sequence[str]
    labels: Mapping[str, str]
    policy: bool
    """Whether it gets the restart policy of the old one at once."""


def creation(old: answers.Settings, image: answers.InspectedImage, new: Replacing, host_name: str) -> Creation:
    """Return the request for a container like ``old``, which was created from ``image``, on another image.

    ``host_name`` is that of the engine's host, which a container on the host's network has too.
    """
    options = dict(_host_options(old.host_config))
    volumes = container_mounts.carried(old, image.config, new.exports)
    if volumes.binds:
        options["Binds"] = volumes.binds
    if volumes.mounts:
        options["Mounts"] = volumes.mounts
    if new.policy and old.host_config.restart_policy.name:
        policy = old.host_config.restart_policy
        options["RestartPolicy"] = {"Name": policy.name, "MaximumRetryCount": policy.maximum_retry_count}
    first, others = container_networks.endpoints(old, _own_names(old))
    body = {"Image": new.image, **_config(old, image, new.labels, volumes, host_name), "HostConfig": options}
    if first:
        body["NetworkingConfig"] = {"EndpointsConfig": first}
    return Creation(body, others)


def _own_names(old: answers.Settings) -> Collection[str]:
    """The names that an engine adds to the aliases of a container."""
    return {old.id[:_SHORT_ID], str(old.all.get("Hostname") or "")}


def _config(
    old: answers.Settings, image: answers.InspectedImage, labels: Mapping[str, str], volumes: Volumes, host_name: str
) -> dict[str, Any]:
    """The settings of ``Config`` that the new container gets beside its image."""
    kept = {key: old.all[key] for key in _CONFIG if _is_set(old.all.get(key)) and old.all[key] != image.settings.get(key)}
    shares_network = container_networks.is_shared(old)
    if not shares_network and (name := _host_name(old, host_name)):
        kept["Hostname"] = name
    elif "Domainname" in kept and old.host_config.network_mode == "host":
        del kept["Domainname"]
    kept |= _command(old.config, image.config)
    own = {
        name: value for name, value in _added(old.config.labels, image.config.labels).items() if not name.startswith(LABEL_PREFIX)
    }
    lists = {
        "Env": [line for line in old.config.env if line not in image.config.env],
        "Labels": {**own, **labels},
        "ExposedPorts": {} if shares_network else _added(old.config.exposed_ports, image.config.exposed_ports),
        "Volumes": {path: {} for path in volumes.declared},
    }
    return kept | {key: value for key, value in lists.items() if value}


def _is_set(value: Any) -> bool:
    """Whether a setting has a value; a number of 0 is one."""
    return value not in (None, "", [], {}) and value is not False


def _host_name(old: answers.Settings, host_name: str) -> str:
    """The host name that was chosen for a container; empty if it is that of the engine's choice."""
    name = str(old.all.get("Hostname") or "")
    mode = old.host_config
    taken = mode.uts_mode == "host" or (mode.network_mode == "host" and name == host_name)
    return "" if taken or name == old.id[:_SHORT_ID] else name


def _command(config: answers.ImageConfig, image: answers.ImageConfig) -> dict[str, Any]:
    """Entrypoint and command, as far as they are not the image's; an entrypoint resets the image's command."""
    if config.entrypoint != image.entrypoint:
        return {"Entrypoint": config.entrypoint or [""], "Cmd": config.cmd}
    return {"Cmd": config.cmd} if config.cmd != image.cmd else {}


def _added(found: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key not in defaults or defaults[key] != value}


def _host_options(host: answers.SettingsOfHost) -> Iterator[tuple[str, Any]]:
    """The run options of ``HostConfig``, without mounts and restart policy."""
    for key, value in host.all.items():
        meant = key in _MEANT_EMPTY and value is not None
        if key not in _OTHER_RULES and (meant or not _is_empty(value)):
            yield key, value
    if links := list(map(_link, host.links)):
        yield "Links", links
    if ports := {port: bindings for port, bindings in host.port_bindings.items() if bindings}:
        yield "PortBindings", ports


def _is_empty(value: Any) -> bool:
    """Whether an option says nothing; ``ConsoleSize`` is a pair of zeros."""
    return not any(value) if isinstance(value, list) else not value


def _link(link: str) -> str:
    """Convert a legacy link from inspection, ``/other:/this/alias``, to the form of a request, ``other:alias``."""
    other, _, alias = link.partition(":")
    return f"{other.removeprefix('/')}:{alias.rpartition('/')[2]}"
