"""What the engine is, and how its API differs for that reason."""

from __future__ import annotations

import contextlib
from functools import cached_property
from pathlib import Path

from bundler.engines import answers
from bundler.engines.connection import Client, errors
from bundler.ports import EngineInfo

_CONTAINERD = ["driver-type", "io.containerd.snapshotter.v1"]


class EngineFacts:
    """Name, version and properties of an engine; each is requested once."""

    def __init__(self, api: Client) -> None:
        self._api = api

    @cached_property
    def info(self) -> EngineInfo:
        with errors(self._api, "requesting the engine's version"):
            version = self._api.engine
        root = self._settings.docker_root_dir
        root = root if self.is_local and _is_directory(root) else ""
        if any("Podman" in component.name for component in version.components):
            return EngineInfo("Podman", version.version, "podman", root)
        is_containerd = _CONTAINERD in self._settings.driver_status
        return EngineInfo("Docker", version.version, "containerd" if is_containerd else "classic", root)

    @property
    def is_podman(self) -> bool:
        return self.info.image_store == "podman"

    @property
    def has_config_ids(self) -> bool:
        """Whether an image's ID is the digest of its config; in containerd's store it is that of a manifest or an index."""
        return self.info.image_store != "containerd"

    @property
    def archives_change_owners(self) -> bool:
        """Whether the archive of a path has other owners than the container sees. The export has the right ones."""
        return self.is_podman or "name=userns" in self._settings.security_options

    @property
    def host_name(self) -> str:
        """The name of the engine's host."""
        return self._settings.name

    @property
    def is_local(self) -> bool:
        """Whether the engine's processes run on this host, as far as its address tells."""
        return self._api.where.startswith("unix:")

    @cached_property
    def _settings(self) -> answers.Info:
        with errors(self._api, "requesting the engine's settings"):
            return answers.read(answers.Info, self._api.info())


def _is_directory(path: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return path.startswith("/") and Path(path).is_dir()
    return False
