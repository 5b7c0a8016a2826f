"""What mounts do to the files of a container: some hide what is no state."""

from __future__ import annotations

from collections.abc import Callable

from bundler.format import paths
from bundler.ports import Container

ENGINE_FILES = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
"""Files that the engine mounts over those of the image, for every container anew."""


def hidden(container: Container) -> Callable[[str], bool]:
    """Which paths nobody takes out of a container: what lies below a tmpfs, and what the engine mounts."""
    tmpfs = _tmpfs(container)
    return lambda path: path in ENGINE_FILES or any(path != mount and paths.is_within(path, mount) for mount in tmpfs)


def mounted(container: Container, path: str) -> bool:
    """Whether a volume or a bind mount lies at a path, above it or below it."""
    return any(kind != "tmpfs" and paths.overlap(mount, path) for mount, kind in container.mounts.items())


def on_tmpfs(container: Container, path: str) -> bool:
    """Whether a path is a tmpfs or lies on one, and so is gone when the container stops."""
    return any(paths.is_within(path, mount) for mount in _tmpfs(container))


def _tmpfs(container: Container) -> list[str]:
    return [mount for mount, kind in container.mounts.items() if kind == "tmpfs"]
