"""What an engine does with a container by itself: its health check and its restart policy, as ``inspect`` tells them."""

from __future__ import annotations

from bundler.engines import answers
from bundler.ports import HealthCheck

_SECOND = 1_000_000_000  # in nanoseconds
_INTERVAL = _TIMEOUT = 30.0
_RETRIES = 3  # the engine's defaults, which it writes as 0 (Docker Engine API, HealthConfig)


def health_check(found: answers.HealthCheck) -> HealthCheck | None:
    """A container's health check; None where it has none, or where ``NONE`` switches off that of its image."""
    if not found.test or found.test[0] == "NONE":
        return None
    return HealthCheck(
        interval=found.interval / _SECOND or _INTERVAL,
        timeout=found.timeout / _SECOND or _TIMEOUT,
        retries=found.retries or _RETRIES,
    )


def restart_policy(name: str) -> str:
    """The name of a container's restart policy; empty for ``no``."""
    return "" if name == "no" else name
