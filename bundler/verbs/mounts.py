"""Mounts of a container: which paths are state, and which are on a mount or belong to the engine."""

from __future__ import annotations

from collections.abc import Callable

from bundler.format import paths
from bundler.ports import Container

ENGINE_FILES = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
"""Files that the engine creates for each container and mounts over those of the image."""


def hidden(container: Container) -> Callable[[str], bool]:
    """Return a test for paths that are not captured: those below a tmpfs, and the engine's files."""
    tmpfs = _tmpfs(container)
    return lambda path: path in ENGINE_FILES or any(path != mount and paths.is_within(path, mount) for mount in tmpfs)


def mounted(container: Container, path: str) -> bool:
    """Whether a volume or bind mount is at, above or below a path."""
    return any(kind != "tmpfs" and paths.overlap(mount, path) for mount, kind in container.mounts.items())


def on_tmpfs(container: Container, path: str) -> bool:
    """Whether a path is on a tmpfs, whose content is lost when the container stops."""
    return any(paths.is_within(path, mount) for mount in _tmpfs(container))


def _tmpfs(container: Container) -> list[str]:
    return [mount for mount, kind in container.mounts.items() if kind == "tmpfs"]
