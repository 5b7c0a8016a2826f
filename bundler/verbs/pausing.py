"""What is said, and refused, before a model is paused."""

from __future__ import annotations

from bundler.errors import ModelError, NoSpaceError
from bundler.format import units
from bundler.ports import Container, Spool
from bundler.streams import Progress
from bundler.verbs.estimate import Estimate

LONG = 60.0
"""Seconds of an expected pause that are worth a warning."""

_SUPERVISORS = {
    "autoheal": "its label autoheal",
    "com.docker.swarm.service.name": "Swarm, of which it is a service",
    "io.kubernetes.pod.name": "Kubernetes, of whose pod it is a part",
}
"""Labels of containers that something restarts when they are unhealthy."""


def refuse_unappliable(expected: Estimate | None) -> None:
    """Raises `ModelError` for sparse files that no engine on such a host can unpack, as engines fill the holes."""
    if expected and expected.exact and expected.size > expected.capacity:
        size, holes, capacity = (units.shown(count) for count in (expected.size, expected.size - expected.data, expected.capacity))
        raise ModelError(
            f"the state is {size}, of which {holes} are holes of sparse files: more than the whole disk of the container "
            f"({capacity}), and an engine that unpacks it fills the holes",
            hint="Have the model keep smaller files, for example an LMDB database with a smaller map size.",
        )


def refuse_long_pause(expected: Estimate | None, longest: float | None) -> None:
    """Raises `ModelError` when the pause is expected to be longer than so many seconds, or cannot be estimated."""
    if longest is None:
        return
    if expected is None:
        raise ModelError(
            "how long the model would be paused is not known: an exported path is on a mount, whose size the engine does not tell",
            hint="Run this as root on the engine's own host, for the direct reader, or leave --max-pause away.",
        )
    if expected.seconds > longest:
        raise ModelError(
            f"the model would be paused for about {expected.seconds:.0f} s, which is more than --max-pause allows ({longest:g} s)",
            hint="Raise --max-pause, have the model export less, or use --no-pause.",
        )


def warn_of_long_pause(expected: Estimate | None, progress: Progress) -> None:
    if expected and expected.seconds > LONG:
        progress.warn(
            f"the model will be paused for about {expected.seconds:.0f} s: "
            "--max-pause refuses that, --no-pause reads the files while it runs"
        )


def warn_of_small_disk(expected: Estimate | None, spool: Spool, progress: Progress) -> None:
    """Warn where the state fits only when it can be compressed; by how much is not known before it has been read."""
    if expected:
        try:
            spool.reserve(expected.data)
        except NoSpaceError as error:
            progress.warn(f"the state fits into the local store only if it can be compressed: {error.message}")


def warn_of_health_check(container: Container, engine: str, expected: Estimate | None, progress: Progress) -> None:
    """Warn when the pause can make the container unhealthy, and of what may then restart it.

    Docker calls a container with a health check unhealthy as soon as it is paused, until a check succeeds after the pause. Podman
    makes no check meanwhile, but one that was under way fails when the pause is longer than its timeout. A restart policy
    alone does not act on a pause.
    """
    check = container.health_check
    if not check:
        return
    if engine == "Podman":
        if check.retries > 1 or not expected or expected.seconds < check.timeout:
            return
        when = f"if a health check is under way when the pause begins: its timeout is {check.timeout:g} s and it has no retries"
    else:
        when = f"from the pause until the next health check succeeds (interval {check.interval:g} s)"
    acts = [why for label, why in _SUPERVISORS.items() if container.labels.get(label, "false").lower() != "false"]
    if container.restart_policy:
        acts.append(f"its restart policy {container.restart_policy} if the health check stops the model")
    restarts = f"; it can be restarted by {', '.join(acts)}" if acts else ""
    progress.warn(
        f"the container {container.name} will be unhealthy {when}{restarts}. "
        "Stop what restarts unhealthy containers during the push, or use --no-pause. "
        "A restart during the pause ends the push without a bundle"
    )
