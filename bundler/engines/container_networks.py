"""How a new container is attached to the networks of the old one, with the addresses and aliases that were requested."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from bundler.engines import answers

Endpoints = Mapping[str, Mapping[str, Any]]
"""Settings of endpoints by the names of their networks."""

_WITHOUT_ENDPOINTS = ("host", "none")


def is_shared(old: answers.Settings) -> bool:
    """Whether a container uses the network of another container."""
    return old.host_config.network_mode.startswith("container:")


def endpoints(old: answers.Settings, own_names: Collection[str]) -> tuple[Endpoints, Endpoints]:
    """Return the endpoint to put into the request for a new container, and the endpoints to connect it to afterwards.

    Engines before Docker 25 take one endpoint in the request. ``own_names`` are aliases that engines add themselves.
    """
    mode = old.host_config.network_mode
    if is_shared(old) or mode in _WITHOUT_ENDPOINTS:
        return {}, {}
    found = {
        name: _endpoint(value or answers.SettingsOfEndpoint(), own_names) for name, value in old.network_settings.networks.items()
    }
    first = next((name for name, value in old.network_settings.networks.items() if _is_named(mode, name, value)), None)
    rest = {name: endpoint for name, endpoint in found.items() if name != first}
    return ({first: found[first]} if first and found[first] else {}), rest


def _is_named(mode: str, name: str, endpoint: answers.SettingsOfEndpoint | None) -> bool:
    """Whether a container's network mode names this network; an empty one and ``default`` are the engine's bridge."""
    network_id = endpoint.network_id if endpoint else ""
    return name == ("bridge" if mode in ("", "default") else mode) or bool(network_id and network_id == mode)


def _endpoint(endpoint: answers.SettingsOfEndpoint, own_names: Collection[str]) -> dict[str, Any]:
    settings = {
        "IPAMConfig": endpoint.ipam_config,
        "Links": endpoint.links,
        "Aliases": [alias for alias in dict.fromkeys(endpoint.aliases) if alias not in own_names],
        "DriverOpts": endpoint.driver_opts,
        "GwPriority": endpoint.gw_priority,
    }
    return {key: value for key, value in settings.items() if value}
