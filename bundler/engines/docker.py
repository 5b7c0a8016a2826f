"""Docker, and Podman by its Docker-compatible API."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs

from bundler.engines import answers, container_log, export_reader, image_loading, inspected, pause, temporary_objects
from bundler.engines.address import DEFAULT, Address, resolve
from bundler.engines.base_listing_cache import Listings
from bundler.engines.connection import (
    TIMEOUT,
    NotFound,
    NullResource,
    body,
    connect,
    errors,
    gpus,
    memory,
    patience,
    refused,
    url,
)
from bundler.engines.container_files import ContainerFiles
from bundler.engines.direct_reader import DirectReader, Process
from bundler.engines.export_reader import ExportReader
from bundler.engines.hold import held, state_of
from bundler.engines.readers import ArchiveReader
from bundler.engines.ssh import Forward
from bundler.errors import BusyError, EngineError, ModelError, NoSpaceError, NotFoundError
from bundler.format import paths
from bundler.format.image import chain_id as chain_id_of
from bundler.format.image_archive import NewImage
from bundler.format.tar import Kind
from bundler.format.whiteouts import Listed, true_kind
from bundler.localfs import state_directory
from bundler.ports import Container, EngineInfo, Image, PathInfo, Reader, RunOptions
from bundler.streams import Progress

LOG_LINES = 20
"""Lines of a container's log that are shown when it failed."""

MOST_IMAGES = 20_000
"""Images of an engine that are looked at, each by a request of its own."""

STOP_TIMEOUT = 10
"""Seconds that a container gets to end itself, if it does not say how many; without any Podman kills it at once."""

_LOOK = "Look at the engine's log, then run the command again."

_PODMANS_OWN = frozenset(("/dev", "/etc/mtab", "/proc", "/run", "/run/.containerenv", "/run/notify", "/run/secrets", "/sys"))
"""What Podman makes in every container that it starts."""

_LOOPBACK = "127.0.0.1"


class DockerEngine:
    """The engine at ``host``, else the one that ``DOCKER_HOST``, ``DOCKER_CONTEXT`` or Docker's configuration name.

    What it sends of a container may be silent for ``silence`` seconds.
    """

    def __init__(self, host: str | None = None, silence: float = TIMEOUT) -> None:
        self._given = host or ""
        self._silence = silence
        self._address = resolve(host)
        self._tunnel = None
        reached = self._address
        if reached.url.startswith("ssh://"):
            self._tunnel = Forward(reached.url, urlsplit(reached.url).path.rstrip("/") or urlsplit(DEFAULT).path)
            reached = Address(f"unix://{self._tunnel.path}")
        try:
            self._api = connect(reached, self._address.url)
        except EngineError as error:
            if self._tunnel and (said := self._tunnel.complaint()):
                error.message += f"; ssh said: {said}"
            raise

    def info(self) -> EngineInfo:
        return self._info

    @cached_property
    def _info(self) -> EngineInfo:
        with errors(self._api, "asking the engine what it is"):
            version = answers.read(answers.Version, self._api.version())
        info = self._told
        here = info.docker_root_dir if self._is_local and _is_directory(info.docker_root_dir) else ""
        if any("Podman" in component.name for component in version.components):
            return EngineInfo("Podman", version.version, "podman", here)
        containerd = ["driver-type", "io.containerd.snapshotter.v1"] in info.driver_status
        return EngineInfo("Docker", version.version, "containerd" if containerd else "classic", here)

    @cached_property
    def _told(self) -> answers.Info:
        with errors(self._api, "asking the engine what it is"):
            return answers.read(answers.Info, self._api.info())

    def container(self, name: str) -> Container:
        return inspected.container(self._look_up(name), self._host)

    def _look_up(self, name: str) -> answers.Inspected:
        with errors(self._api, f"looking for the container {name!r}"):
            try:
                found = self._api.inspect_container(name)
            except (NotFound, NullResource):
                found = self._api.inspect_container(self._by_prefix(name))
            return answers.read(answers.Inspected, found)

    def _state(self, container_id: str) -> answers.State:
        """Whether a container runs; one that is gone does not."""
        return state_of(self._api, container_id, "a container") or answers.State()

    @contextmanager
    def route(self, endpoint: str) -> Iterator[str]:
        if not self._tunnel:
            yield endpoint
            return
        forward = Forward(self._address.url, endpoint)
        try:
            yield f"unix:{forward.path}"
        finally:
            forward.close()

    @contextmanager
    def paused(self, container: Container) -> Iterator[None]:
        with pause.guarded(state_directory.directory(), self._address.url, container.id, self._given) as note:

            def begin() -> None:
                try:
                    with errors(self._api, f"pausing the container {container.name}"):
                        self._api.pause(container.id)
                except EngineError as error:
                    if refused(error):
                        note.settle()  # the engine said no: it is not paused, or not by us
                    raise

            with held(
                self._api, container, note, is_podman=self._is_podman, pause=begin, resume=partial(self.resume, container.id)
            ):
                yield

    def is_paused(self, container_id: str) -> bool:
        """Whether a container is paused; one that is gone is not."""
        return self._state(container_id).paused

    def resume(self, container_id: str) -> None:
        """Unpause a container; raises `EngineError` when it is still paused afterwards."""
        try:
            with errors(self._api, "resuming the container"):
                self._api.unpause(container_id)
        except EngineError as error:
            if self.is_paused(container_id):
                raise _still_paused(error.message, container_id) from error
            return
        if self.is_paused(container_id):
            raise _still_paused("the engine says that it resumed the container, which is paused", container_id)

    def mend(self) -> list[str]:
        """Put right what a dead process of ours left on this engine; gives what was done, a sentence each."""
        mended = []
        for left in pause.abandoned(state_directory.directory()):
            if left.host == self._address.url:
                if self.is_paused(left.container):
                    self.resume(left.container)
                    mended.append(f"the container {left.container[:12]} was left paused; it was resumed")
                left.journal.unlink(missing_ok=True)
        swept = temporary_objects.sweep(
            state_directory.directory(), self._address.url, {"container": self._remove, "image": self._untag}
        )
        return mended + [f"{name} was left over; it was removed" for name in swept]

    def reader(self, container: Container, wanted: str) -> Reader:
        if wanted != "api" and self._is_local:
            direct = DirectReader.of(container.id, partial(self._process, container.id), extended=wanted == "extended")
            if direct:
                return direct
        if wanted in ("direct", "extended"):
            raise ModelError(
                f"the files of {container.name} cannot be read directly",
                hint="That takes root on the engine's own host, and a container that runs there without a user namespace.",
            )
        files = self._files(container.id)
        if not self._archives_change_owners:
            return ArchiveReader(files.stat, files.archive)
        return ExportReader(files.stat, files.export, container.mounts)

    @contextmanager
    def started(self, container: Container) -> Iterator[Container]:
        with errors(self._api, f"starting the container {container.name}"):
            self._api.start(container.id)
        try:
            yield self.container(container.id)
        finally:
            with errors(self._api, f"stopping the container {container.name}"):
                wanted = answers.read(answers.Inspected, self._api.inspect_container(container.id)).config.stop_timeout
                self._api.stop(container.id, timeout=STOP_TIMEOUT if wanted is None else wanted)

    def extent(self, container: Container, reader: Reader) -> int:
        sized = self._sized(container)
        return sized.size_root_fs if isinstance(reader, ExportReader) else sized.size_rw

    def _sized(self, container: Container) -> answers.Inspected:
        """A container with the bytes of what it has written over its image, and of all its files."""
        with errors(self._api, f"asking for the size of {container.name}"):
            response = self._api.get(url(self._api, f"/containers/{container.id}/json"), params={"size": "true"}, timeout=TIMEOUT)
            response.raise_for_status()
            return answers.read(answers.Inspected, answers.parse(response.content))

    def changes(self, container: Container) -> dict[str, str]:
        kinds = ("changed", "added", "deleted")
        try:
            with errors(self._api, f"comparing {container.name} with its image"):
                found = answers.read_list(answers.Change, self._api.diff(container.id))
                return {change.path: kinds[change.kind] for change in found}
        except EngineError:
            if not self._is_podman:
                raise
        return self._archive_changes(container)

    def _archive_changes(self, container: Container) -> dict[str, str]:
        """The same, by the archives of the container and of its image: Podman fails where a directory replaced a file."""
        with self._unstarted(self.image(container.image_id)) as clean:
            walks = [ExportReader(files.stat, files.export, ()).walk() for files in map(self._files, (clean, container.id))]
            with closing(walks[0]) as before, closing(walks[1]) as now:
                changes = export_reader.changes(before, now)
        return {path: change for path, change in changes.items() if path not in _PODMANS_OWN}

    def size(self, container: Container, path: str) -> int:
        return self._files(container.id).size(path)

    def _files(self, container: str, silence: float = 0) -> ContainerFiles:
        return ContainerFiles(self._api, container, silence or self._silence)

    def listing(self, base: Image, exports: Sequence[str]) -> Iterator[Listed]:
        listings = Listings(platformdirs.user_cache_path("fps-bundle") / "listings")
        chain_id = chain_id_of(base.diff_ids)
        kept = listings.find(chain_id, exports)
        return kept or listings.keep(chain_id, exports, self._look_through(base, exports))

    def _look_through(self, base: Image, exports: Sequence[str]) -> Iterator[Listed]:
        with self._unstarted(base) as container:
            files = self._files(container, patience(base.size))
            if self._archives_change_owners:  # what is there is not asked for, as Podman takes a path for a glob pattern
                reader: Reader = ExportReader(files.stat, files.export, ())
            else:
                reader = ArchiveReader(files.stat, files.archive)
                exports = [export for export in exports if _stands_plainly(export, files.stat)]
            special: dict[str, Kind] = {}
            with closing(reader.entries(exports)) as entries:  # before the container is removed
                for entry, _ in entries:
                    if any(paths.is_within(entry.path, export) for export in exports):
                        yield Listed(entry.path, true_kind(entry, special))

    @contextmanager
    def created(self, image: Image) -> Iterator[Container]:
        with self._unstarted(image) as name:
            yield self.container(name)

    def _unstarted(self, image: Image) -> AbstractContextManager[str]:
        return self._temporary(image, command=["never-started"], network_disabled=True)

    @contextmanager
    def running(self, image: Image, options: RunOptions, *, keep: bool) -> Iterator[Container]:
        host_config = self._api.create_host_config(
            network_mode=options.network or None,
            mem_limit=memory(options.memory) if options.memory else None,
            device_requests=gpus(options.gpus) if options.gpus else None,
        )
        with self._temporary(image, keep=keep, environment=list(options.environment), host_config=host_config) as name:
            with errors(self._api, "starting the new container"):
                self._api.start(name)
            yield self.container(name)

    @contextmanager
    def _temporary(self, image: Image, *, keep: bool = False, **options: Any) -> Iterator[str]:
        """The name of a container that is there for the length of the block; with ``keep`` longer when a model fails in it."""
        with temporary_objects.noted(state_directory.directory(), self._address.url, "container") as (name, note):
            kept = False
            try:
                self._create(image, name, options)
                yield name
            except ModelError as error:
                if keep:
                    kept = True
                    error.hint = f"{error.hint} The new container is kept: {name}".strip()
                raise
            finally:
                if not kept:
                    self._remove(name)
                note.settle()

    def _create(self, image: Image, name: str, options: dict[str, Any]) -> None:
        with errors(self._api, f"creating a container of {image.id}"):
            made = answers.read(answers.Created, self._api.create_container(image.id, name=name, **options))
            try:
                found = answers.read(answers.Inspected, self._api.inspect_container(name))
            except NotFound:
                found = None
        if not found or found.id != made.id:
            raise EngineError(f"the engine says that it created the container {name}, and has no such container", hint=_LOOK)

    def _remove(self, name: str) -> bool:
        """Remove a temporary container; False when there is none."""
        doing = f"removing the temporary container {name}"
        with errors(self._api, doing):
            try:
                self._api.remove_container(name, v=True, force=True)
            except NotFound:
                return False
            with contextlib.suppress(NotFound):
                self._api.inspect_container(name)
                raise EngineError(f"the engine says that it removed the container {name}, which is still there", hint=_LOOK)
        return True

    def put(self, container: Container, archive: Iterator[bytes]) -> None:
        self._files(container.id).put(archive, f"writing into {container.name}")

    def logs(self, container: Container) -> str:
        tty = self._look_up(container.id).config.tty
        parameters = {"stdout": "1", "stderr": "1", "tail": str(LOG_LINES)}
        with (
            errors(self._api, f"reading the log of {container.name}"),
            self._api.get(url(self._api, f"/containers/{container.id}/logs"), params=parameters, stream=True) as response,
        ):
            response.raise_for_status()
            return container_log.text(body(response, self._silence), tty=tty)

    @contextmanager
    def committed(self, container: Container) -> Iterator[Image]:
        with self._temporary_image() as name:
            repository, _, tag = name.partition(":")
            parameters = {"container": container.id, "repo": repository, "tag": tag, "pause": "true"}
            with errors(self._api, f"committing {container.name}"):
                limit = (TIMEOUT, patience(self._sized(container).size_rw))
                response = self._api.post(url(self._api, "/commit"), params=parameters, json={}, timeout=limit)
                response.raise_for_status()
            yield self._claimed(name, f"committed {container.name}")

    def _process(self, container_id: str) -> Process | None:
        state = self._state(container_id)
        return Process(state.pid, state.started_at) if state.running else None

    def _claimed(self, name: str, what: str) -> Image:
        """An image that the engine says it made."""
        try:
            return self.image(name)
        except NotFoundError:
            raise EngineError(f"the engine says that it {what}, and has no image {name}", hint=_LOOK) from None

    def image(self, name: str) -> Image:
        if not (found := self._inspected(name)):
            raise EngineError(
                f"the engine has only a part of the image {name}, and does not tell its layers",
                hint="Remove it, then load or pull it again.",
            )
        return found

    def _inspected(self, name: str) -> Image | None:
        """An image; None of which the engine does not tell the layers, as containerd's store has only a part of it."""
        with errors(self._api, f"looking for the image {name!r}"):
            try:
                found = answers.read(answers.InspectedImage, self._api.inspect_image(name))  # type: ignore[no-untyped-call]
            except (NotFound, NullResource):
                raise NotFoundError(
                    f"the engine has no image {name!r}", hint="`docker images` lists those it has; load or pull the one you need."
                ) from None
        return inspected.image(found)

    def images(self) -> Iterator[Image]:
        with errors(self._api, "listing the images"):
            ids = [image.id for image in answers.read_list(answers.ListedImage, self._api.images())]
            if len(ids) > MOST_IMAGES:
                raise answers.BadAnswer(f"it has more than {MOST_IMAGES} images")
        for image_id in dict.fromkeys(ids):
            with contextlib.suppress(NotFoundError):  # removed since the list was made
                if found := self._inspected(image_id):
                    yield found

    def holding(self, new: NewImage) -> Image | None:
        if self._has_config_ids:
            with contextlib.suppress(NotFoundError):
                found = self.image(str(new.config_digest))
                return found if found.diff_ids == new.diff_ids else None
            return None
        return next((candidate for candidate in self.images() if _is_made_of(candidate, new)), None)

    @contextmanager
    def loaded(self, image: NewImage, base: Image, progress: Progress) -> Iterator[Image]:
        with self._temporary_image() as name:
            yield self._load(image, base, name, progress)

    def _load(self, image: NewImage, base: Image, name: str, progress: Progress) -> Image:
        """Try one dialect after the other; one that fails leaves no image."""
        ways = self._ways(image, base, name)
        size = base.size + sum(layer.description.size for layer in image.layers)
        for number, way in enumerate(ways, start=1):
            try:
                return self._identified(image, name, image_loading.send(self._api, way, size, progress))
            except NoSpaceError:
                raise
            except EngineError as error:
                self._untag(name)
                if number == len(ways):
                    raise
                progress.warn(f"{error.message}; trying again with all layers of the base")
        raise AssertionError("there is at least one way")

    def _identified(self, new: NewImage, name: str, reported: Sequence[str]) -> Image:
        """The image that was loaded, under its temporary name: by what the engine says that it loaded, as engines rewrite names."""
        for reference in (name, *reported):
            with contextlib.suppress(NotFoundError):
                found = self.image(reference)
                if found.id == str(new.config_digest) if self._has_config_ids else _is_made_of(found, new):
                    if reference != name:
                        self.tag(found, name)
                    return found
        raise EngineError(
            f"the engine says that it loaded {', '.join(reported) or 'nothing'}, and has no image of the layers that it was given",
            hint="Please report this, with the engine's name and version.",
        )

    @cached_property
    def _has_config_ids(self) -> bool:
        """Whether an image's ID is the digest of its config; in containerd's store it is that of a manifest or an index."""
        return self._info.image_store != "containerd"

    def _ways(self, image: NewImage, base: Image, name: str) -> list[image_loading.Way]:
        count = len(image.base_diff_ids)
        others = (other for other in self.images() if other.id != base.id and other.diff_ids[:count] == image.base_diff_ids)
        return image_loading.ways(self._api, self.info().image_store, image, base, others, name)

    @contextmanager
    def _temporary_image(self) -> Iterator[str]:
        """A name for an image, which loses it after the block."""
        with temporary_objects.noted(state_directory.directory(), self._address.url, "image") as (name, note):
            try:
                yield name
            finally:
                self._untag(name)
                note.settle()

    def _untag(self, name: str) -> bool:
        """Remove a temporary name of an image; False when there is none."""
        with errors(self._api, f"removing the temporary name {name}"):
            try:
                self._api.remove_image(name)
            except NotFound:
                return False
            with contextlib.suppress(NotFound):
                self._api.inspect_image(name)  # type: ignore[no-untyped-call]
                raise EngineError(f"the engine says that it removed the name {name}, which is still there", hint=_LOOK)
        return True

    def tag(self, image: Image, name: str) -> None:
        repository, _, tag = name.rpartition(":")
        before = None
        with contextlib.suppress(NotFoundError):
            before = self._inspected(name)
        with errors(self._api, f"naming the new image {name}"):
            self._api.tag(image.id, repository, tag, force=True)
        found = self._claimed(name, f"named an image {name}")
        if found.id == image.id:
            return
        if before and found.id == before.id:
            raise EngineError(f"the engine says that it named an image {name}, and it is still another one", hint=_LOOK)
        raise BusyError(
            f"{name} is another image than the one that was just given this name: another process moved the tag",
            hint="Look at the image, then run the command again.",
        )

    def _by_prefix(self, prefix: str) -> str:
        found = answers.read_list(answers.Listed, self._api.containers(all=True))
        matches = {
            container.id: name.removeprefix("/")
            for container in found
            for name in container.names
            if prefix and (name.removeprefix("/").startswith(prefix) or container.id.startswith(prefix))
        }
        if len(matches) == 1:
            return next(iter(matches))
        if matches:
            raise NotFoundError(
                f"several containers begin with {prefix!r}", hint=f"Name one of: {', '.join(sorted(matches.values())[:20])}"
            )
        names = sorted(name.removeprefix("/") for container in found for name in container.names)
        raise NotFoundError(
            f"there is no container {prefix!r}",
            hint=f"There are: {', '.join(names[:20])}" if names else "The engine has no containers.",
        )

    @property
    def _is_podman(self) -> bool:
        return self._info.image_store == "podman"

    @cached_property
    def _archives_change_owners(self) -> bool:
        """Whether the archive of a path tells other owners than the container sees; that of the whole container is right."""
        return self._is_podman or "name=userns" in self._told.security_options

    @cached_property
    def _is_local(self) -> bool:
        """Whether the engine's processes are processes of this host, as far as its address tells."""
        return self._address.url.startswith("unix:")

    @cached_property
    def _host(self) -> str:
        """Where the engine's published ports are reached."""
        address = urlsplit(self._address.url)
        return address.hostname or _LOOPBACK if address.scheme in ("tcp", "http", "https") else _LOOPBACK


def _still_paused(message: str, container_id: str) -> EngineError:
    hint = "The container is still paused. Resume it with:"
    return EngineError(message, hint=hint, command=f"docker unpause {container_id[:12]}")


def _is_directory(path: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return path.startswith("/") and Path(path).is_dir()
    return False


def _is_made_of(found: Image, new: NewImage) -> bool:
    """Whether an image is the new one, by all that an engine tells of its config; the history is not among it."""
    wanted = json.loads(new.config)
    told = {"layers": found.diff_ids, "created": found.created, "config": _plain(found.config)}
    return told == {"layers": new.diff_ids, "created": wanted.get("created", ""), "config": _plain(wanted["config"])}


def _stands_plainly(path: str, stat: Callable[[str], PathInfo | None]) -> bool:
    """Whether a path is there, with no symlink among its parents."""
    above = [stat(directory) for directory in paths.ancestors(path)]
    return all(info and info.link_target is None for info in above) and stat(path) is not None


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say something; Docker before 28 lists those that are empty, too."""
    return {key: value for key, value in config.items() if value}
