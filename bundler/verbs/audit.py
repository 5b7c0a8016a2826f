"""What changed in a container outside of its exported paths: what a model's Export may have forgotten."""

from __future__ import annotations

from dataclasses import dataclass

from bundler.format import paths
from bundler.ports import Container, Engine
from bundler.verbs.capture import Plan
from bundler.verbs.mounts import ENGINE_FILES


@dataclass(frozen=True)
class Forgotten:
    """A path that was added, changed or deleted since the container was made; ``size`` in bytes, of a directory its own."""

    path: str
    change: str
    size: int


def find_forgotten(container: Container, plan: Plan, engine: Engine) -> tuple[Forgotten, ...]:
    """The topmost changed paths that no export holds, as the engine's comparison with the image gives them."""
    changes = engine.changes(container)
    # A directory changes when something in it does, which is told for itself.
    above = {directory for path in changes for directory in paths.ancestors(path)}

    def concerns_nobody(path: str) -> bool:
        ours_or_mounted = any(paths.overlap(path, other) for other in (*plan.topmost, *container.mounts))
        silent = changes[path] == "changed" and path in above
        return ours_or_mounted or silent or path in ENGINE_FILES or paths.is_within(path, "/dev")

    found: list[Forgotten] = []
    for path in sorted(changes, key=paths.sort_key):
        below_last = bool(found) and found[-1].change != "changed" and paths.is_within(path, found[-1].path)
        if not concerns_nobody(path) and not below_last:
            found.append(Forgotten(path, changes[path], engine.size(container, path)))
    return tuple(found)
