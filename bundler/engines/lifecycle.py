"""What an engine does with a container by itself: its health check and its restart policy, as ``inspect`` tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundler.ports import HealthCheck

_SECOND = 1_000_000_000  # in nanoseconds
_INTERVAL = _TIMEOUT = 30.0
_RETRIES = 3  # the engine's defaults, which it writes as 0 (Docker Engine API, HealthConfig)


def health_check(found: Mapping[str, Any]) -> HealthCheck | None:
    """A container's health check; None where it has none, or where ``NONE`` switches off that of its image."""
    test = found.get("Test") or ()
    if not test or test[0] == "NONE":
        return None
    return HealthCheck(
        interval=(found.get("Interval") or 0) / _SECOND or _INTERVAL,
        timeout=(found.get("Timeout") or 0) / _SECOND or _TIMEOUT,
        retries=found.get("Retries") or _RETRIES,
    )


def restart_policy(host_config: Mapping[str, Any]) -> str:
    """The name of a container's restart policy; empty for ``no``."""
    name = (host_config.get("RestartPolicy") or {}).get("Name") or ""
    return "" if name == "no" else str(name)
