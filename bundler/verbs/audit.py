"""Audit: find changes in a container outside of its exported paths, which the model's Export may have forgotten."""

from __future__ import annotations

from dataclasses import dataclass

from bundler.format import paths
from bundler.ports import Container, Engine
from bundler.verbs.capture import ResolvedExports
from bundler.verbs.mounts import ENGINE_FILES


@dataclass(frozen=True)
class Forgotten:
    """A path added, changed or deleted since the container was created; ``size`` in bytes, without the content of a directory."""

    path: str
    change: str
    size: int


def find_forgotten(container: Container, exports: ResolvedExports, engine: Engine) -> tuple[Forgotten, ...]:
    """Return the topmost changed paths outside of all exports, by the engine's comparison with the image."""
    changes = engine.changes(container)
    # A directory counts as changed when an entry in it is; that entry is listed itself.
    above = {directory for path in changes for directory in paths.ancestors(path)}

    def is_irrelevant(path: str) -> bool:
        exported_or_mounted = any(paths.overlap(path, other) for other in (*exports.topmost, *container.mounts))
        is_parent = changes[path] == "changed" and path in above
        return exported_or_mounted or is_parent or path in ENGINE_FILES or paths.is_within(path, "/dev")

    forgotten: list[Forgotten] = []
    for path in sorted(changes, key=paths.sort_key):
        below_last = bool(forgotten) and forgotten[-1].change != "changed" and paths.is_within(path, forgotten[-1].path)
        if not is_irrelevant(path) and not below_last:
            forgotten.append(Forgotten(path, changes[path], engine.size(container, path)))
    return tuple(forgotten)
