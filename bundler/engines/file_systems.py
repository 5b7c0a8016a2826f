"""Files of containers and images: choice of the reader, comparison with the image, listing of a clean base, unpacking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial

import platformdirs

from bundler.engines import answers, export_reader
from bundler.engines.archive_reader import ArchiveReader
from bundler.engines.base_listing_cache import BaseListingCache
from bundler.engines.connection import Client, errors, patience
from bundler.engines.container_archives import ContainerArchives
from bundler.engines.containers import Containers
from bundler.engines.direct_reader import DirectReader, Process
from bundler.engines.engine_facts import EngineFacts
from bundler.engines.export_reader import ExportReader
from bundler.engines.images import Images
from bundler.engines.temporary_containers import TemporaryContainers
from bundler.errors import EngineError, ModelError
from bundler.format import paths
from bundler.format.image import chain_id as chain_id_of
from bundler.format.tar import Kind
from bundler.format.whiteouts import Listed, true_kind
from bundler.ports import Container, Image, PathInfo, Reader

_MADE_BY_PODMAN = frozenset(
    ("/dev", "/etc/mtab", "/proc", "/run", "/run/.containerenv", "/run/notify", "/run/secrets", "/sys"),
)
"""What Podman creates in every container that it starts."""


class FileSystems:
    """The files of an engine's containers and images; a stream of them may send nothing for ``silence`` seconds."""

    def __init__(
        self,
        api: Client,
        facts: EngineFacts,
        containers: Containers,
        images: Images,
        temporary_containers: TemporaryContainers,
        silence: float,
    ) -> None:
        self._api = api
        self._facts = facts
        self._containers = containers
        self._images = images
        self._temporary_containers = temporary_containers
        self._silence = silence

    def reader(self, container: Container, wanted: str) -> Reader:
        if wanted != "api" and self._facts.is_local:
            direct = DirectReader.of(container.id, partial(self._process, container.id), extended=wanted == "extended")
            if direct:
                return direct
        if wanted in ("direct", "extended"):
            raise ModelError(
                f"the files of {container.name} cannot be read directly",
                hint="Run this as root on the engine's own host; the container must run there without a user namespace.",
            )
        archives = self._archives(container.id)
        if not self._facts.archives_change_owners:
            return ArchiveReader(archives.stat, archives.archive)
        return ExportReader(archives.stat, archives.export, container.mounts)

    def extent(self, container: Container, reader: Reader) -> int:
        sized = self._containers.sized(container)
        return sized.size_root_fs if isinstance(reader, ExportReader) else sized.size_rw

    def changes(self, container: Container) -> dict[str, str]:
        kinds = ("changed", "added", "deleted")
        try:
            with errors(self._api, f"comparing {container.name} with its image"):
                changes = answers.read_list(answers.Change, self._api.diff(container.id))
                return {change.path: kinds[change.kind] for change in changes}
        except EngineError:
            if not self._facts.is_podman:
                raise
        return self._export_changes(container)

    def size(self, container: Container, path: str) -> int:
        return self._archives(container.id).size(path)

    def listing(self, base: Image, exports: Sequence[str]) -> Iterator[Listed]:
        cache = BaseListingCache(platformdirs.user_cache_path("fps-bundle") / "listings")
        chain_id = chain_id_of(base.diff_ids)
        return cache.find(chain_id, exports) or cache.keep(chain_id, exports, self._list_files(base, exports))

    def put(self, container: Container, archive: Iterator[bytes]) -> None:
        self._archives(container.id).put(archive, f"writing into {container.name}")

    def _export_changes(self, container: Container) -> dict[str, str]:
        """Compare the exports of the container and of its image: Podman fails where a directory replaced a file."""
        with self._temporary_containers.unstarted(self._images.image(container.image_id)) as clean:
            exports = [ExportReader(files.stat, files.export, ()).walk() for files in map(self._archives, (clean, container.id))]
            with closing(exports[0]) as before, closing(exports[1]) as now:
                changes = export_reader.changes(before, now)
        return {path: change for path, change in changes.items() if path not in _MADE_BY_PODMAN}

    def _list_files(self, base: Image, exports: Sequence[str]) -> Iterator[Listed]:
        with self._temporary_containers.unstarted(base) as container:
            archives = ContainerArchives(self._api, container, patience(base.size))
            if self._facts.archives_change_owners:  # no lookup of paths: Podman takes a path for a glob pattern
                reader: Reader = ExportReader(archives.stat, archives.export, ())
            else:
                reader = ArchiveReader(archives.stat, archives.archive)
                exports = [export for export in exports if _exists_without_symlinks(export, archives.stat)]
            special: dict[str, Kind] = {}
            with closing(reader.entries(exports)) as entries:  # before the container is removed
                for entry, _ in entries:
                    if any(paths.is_within(entry.path, export) for export in exports):
                        yield Listed(entry.path, true_kind(entry, special))

    def _archives(self, container: str) -> ContainerArchives:
        return ContainerArchives(self._api, container, self._silence)

    def _process(self, container_id: str) -> Process | None:
        state = self._containers.state(container_id)
        return Process(state.pid, state.started_at) if state and state.running else None


def _exists_without_symlinks(path: str, stat: Callable[[str], PathInfo | None]) -> bool:
    """Whether a path exists, and none of its parents is a symlink."""
    parents = [stat(directory) for directory in paths.ancestors(path)]
    return all(info and info.link_target is None for info in parents) and stat(path) is not None
