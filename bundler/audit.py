"""What changed in a container outside of its exported paths: what a model's Export may have forgotten."""

from __future__ import annotations

from dataclasses import dataclass

from bundler.capture import ENGINE_FILES, Plan
from bundler.format import paths
from bundler.ports import Container, Engine


@dataclass(frozen=True)
class Forgotten:
    """A path that was added, changed or deleted since the container was made; ``size`` in bytes, of a directory its own."""

    path: str
    change: str
    size: int


def find_forgotten(container: Container, plan: Plan, engine: Engine) -> tuple[Forgotten, ...]:
    """The topmost changed paths that no export holds, as the engine's comparison with the image gives them."""
    changes = engine.changes(container)
    silent = {path for path, change in changes.items() if change == "changed" and _is_above(path, changes)}

    def concerns_nobody(path: str) -> bool:
        exported = any(paths.is_within(path, top) or paths.is_within(top, path) for top in plan.topmost)
        mounted = any(paths.is_within(path, mount) or paths.is_within(mount, path) for mount in container.mounts)
        return exported or mounted or path in silent or path in ENGINE_FILES or paths.is_within(path, "/dev")

    found: list[Forgotten] = []
    for path in sorted(changes, key=paths.sort_key):
        below_last = bool(found) and found[-1].change != "changed" and paths.is_within(path, found[-1].path)
        if not concerns_nobody(path) and not below_last:
            found.append(Forgotten(path, changes[path], engine.size(container, path)))
    return tuple(found)


def _is_above(path: str, changes: dict[str, str]) -> bool:
    """Whether a directory changed only because something in it did."""
    return any(other != path and paths.is_within(other, path) for other in changes)
