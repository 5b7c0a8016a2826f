"""Which mounts a new container takes over from the old one.

Volumes with a name, binds and tmpfs are taken over as they are. An anonymous volume is mounted by the name that the engine
gave it, unless it overlaps an export: there the new container has the state of its image, in a new volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bundler.engines import answers
from bundler.engines.conversion import is_anonymous
from bundler.format import paths


@dataclass(frozen=True)
class Volumes:
    """Mounts for a request: ``Binds``, ``Mounts``, and the paths of new anonymous volumes."""

    binds: list[str]
    mounts: list[dict[str, Any]]
    declared: list[str]


def carried(old: answers.Settings, image: answers.ImageConfig, exports: Sequence[str]) -> Volumes:
    """Return the mounts of a new container; those that its image declares need no request."""
    anonymous = {mount.destination: mount for mount in old.mounts if is_anonymous(mount)}
    renewed = {path for path in anonymous if any(paths.overlap(path, export) for export in exports)}
    binds = [bind for bind in old.host_config.binds if _destination(bind) not in anonymous]
    mounts = []
    for mount in old.host_config.mounts:
        path = str(mount.get("Target", ""))
        if path in anonymous and path not in renewed:
            mounts.append({**mount, "Source": anonymous[path].name})
        else:
            mounts.append(mount)
    requested = {str(mount.get("Target", "")) for mount in mounts}
    for path, volume in anonymous.items():
        if path not in renewed and path not in requested:
            binds.append(f"{volume.name}:{path}" + ("" if volume.rw else ":ro"))
    given = {*map(_destination, binds), *requested}
    declared = {*renewed, *old.config.volumes} - set(image.volumes) - given
    return Volumes(binds, mounts, sorted(declared))


def _destination(bind: str) -> str:
    """The path of ``SOURCE:PATH[:OPTIONS]`` in the container."""
    return bind.split(":")[1] if ":" in bind else bind
