"""Health check and restart policy of a container, as ``inspect`` reports them."""

from __future__ import annotations

from bundler.engines import answers
from bundler.ports import HealthCheck

_SECOND = 1_000_000_000  # in nanoseconds
_INTERVAL = _TIMEOUT = 30.0
_RETRIES = 3  # the engine's defaults, which it reports as 0 (Docker Engine API, HealthConfig)


def health_check(check: answers.HealthCheck) -> HealthCheck | None:
    """Convert a health check; None if there is none, or if ``NONE`` disables that of the image."""
    if not check.test or check.test[0] == "NONE":
        return None
    return HealthCheck(
        interval=check.interval / _SECOND or _INTERVAL,
        timeout=check.timeout / _SECOND or _TIMEOUT,
        retries=check.retries or _RETRIES,
    )


def restart_policy(name: str) -> str:
    """Convert the name of a restart policy; empty for ``no``."""
    return "" if name == "no" else name
