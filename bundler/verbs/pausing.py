"""Warnings and refusals before a model is paused."""

from __future__ import annotations

from bundler.errors import ModelError, NoSpaceError
from bundler.format import units
from bundler.ports import Container, Spool
from bundler.streams import Progress
from bundler.verbs.estimate import Estimate

LONG = 60.0
"""Seconds of an expected pause above which push warns."""

_SUPERVISORS = {
    "autoheal": "its label autoheal",
    "com.docker.swarm.service.name": "Swarm, as a service of it",
    "io.kubernetes.pod.name": "Kubernetes, as part of a pod",
}
"""Labels of containers that are restarted when they are unhealthy, and what restarts them."""


def refuse_unappliable(expected: Estimate | None) -> None:
    """Raise `ModelError` for sparse files larger than the disk: engines fill the holes when they unpack."""
    if expected and expected.exact and expected.size > expected.capacity:
        size, holes, capacity = (units.shown(count) for count in (expected.size, expected.size - expected.data, expected.capacity))
        raise ModelError(
            f"the state is {size}, of which {holes} are holes of sparse files: more than the whole disk of the container "
            f"({capacity}), and engines fill the holes when they unpack it",
            hint="Configure the model to keep smaller files, for example an LMDB database with a smaller map size.",
        )


def refuse_long_pause(expected: Estimate | None, longest: float | None) -> None:
    """Raise `ModelError` when the expected pause is longer than ``longest`` seconds, or unknown."""
    if longest is None:
        return
    if expected is None:
        raise ModelError(
            "cannot estimate the pause: an exported path is on a mount, whose size the engine does not report",
            hint="Run as root on the engine's host, for the direct reader, or omit --max-pause.",
        )
    if expected.seconds > longest:
        raise ModelError(
            f"the model would be paused for about {expected.seconds:.0f} s, which exceeds --max-pause ({longest:g} s)",
            hint="Raise --max-pause, export less, or use --no-pause.",
        )


def warn_of_long_pause(expected: Estimate | None, progress: Progress) -> None:
    if expected and expected.seconds > LONG:
        progress.warn(
            f"the model will be paused for about {expected.seconds:.0f} s: "
            "use --max-pause to refuse such a pause, or --no-pause to read the files while the model runs"
        )


def warn_of_small_disk(expected: Estimate | None, spool: Spool, progress: Progress) -> None:
    """Warn when the state fits only if it can be compressed; how well it compresses is unknown before it has been read."""
    if expected:
        try:
            spool.reserve(expected.data)
        except NoSpaceError as error:
            progress.warn(f"the state fits into the local store only if it can be compressed: {error.message}")


def warn_of_health_check(container: Container, engine: str, expected: Estimate | None, progress: Progress) -> None:
    """Warn when the pause can make the container unhealthy, and name what may restart it then.

    Docker reports a paused container with a health check as unhealthy until a check succeeds after the pause. Podman runs
    no check during the pause, but a check that has started fails when the pause exceeds its timeout. A restart policy
    alone does not react to a pause.
    """
    check = container.health_check
    if not check:
        return
    if engine == "Podman":
        if check.retries > 1 or not expected or expected.seconds < check.timeout:
            return
        when = f"if the pause begins during a health check: its timeout is {check.timeout:g} s and it has no retries"
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
