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

from bundler import statefiles
from bundler.engines import exportreader, loading, pause, temporary
from bundler.engines.address import DEFAULT, Address, resolve
from bundler.engines.connection import (
    TIMEOUT,
    NotFound,
    NullResource,
    connect,
    errors,
    gpus,
    memory,
    patience,
    refused,
    url,
)
from bundler.engines.containerfiles import ContainerFiles
from bundler.engines.direct import DirectReader, Process
from bundler.engines.exportreader import ExportReader
from bundler.engines.hold import held, instance
from bundler.engines.lifecycle import health_check, restart_policy
from bundler.engines.listings import Listings
from bundler.engines.readers import ArchiveReader
from bundler.engines.ssh import Forward
from bundler.errors import EngineError, ModelError, NoSpaceError, NotFoundError
from bundler.format import paths
from bundler.format.content import Digest
from bundler.format.image import chain_id as chain_id_of
from bundler.format.imagearchive import NewImage
from bundler.format.metadata import Platform
from bundler.format.removals import Listed, true_kind
from bundler.format.tar import Kind
from bundler.ports import Container, EngineInfo, Image, PathInfo, Progress, Reader, RunOptions

LOG_LINES = 20
"""Lines of a container's log that are shown when it failed."""

STOP_TIMEOUT = 10
"""Seconds that a container gets to end itself, if it does not say how many; without any Podman kills it at once."""

_PODMANS_OWN = frozenset(("/dev", "/etc/mtab", "/proc", "/run", "/run/.containerenv", "/run/notify", "/run/secrets", "/sys"))
"""What Podman makes in every container that it starts."""

_NO_TIME = "0001-01-01T00:00:00Z"  # Go's word for a time that is not set

_ANY_IPV4 = "0.0.0.0"  # noqa: S104 - compared with, not listened on  # nosec B104
_ANY_ADDRESS = ("", _ANY_IPV4, "::")
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
            self._api = connect(reached)
        except EngineError as error:
            if self._tunnel and (said := self._tunnel.complaint()):
                error.message += f"; ssh said: {said}"
            raise

    def info(self) -> EngineInfo:
        return self._info

    @cached_property
    def _info(self) -> EngineInfo:
        with errors("asking the engine what it is"):
            version, info = self._api.version(), self._api.info()
        root = info.get("DockerRootDir", "")
        here = root if self._is_local and Path(root).is_dir() else ""
        components = [component.get("Name", "") for component in version.get("Components") or []]
        if any("Podman" in name for name in components):
            return EngineInfo("Podman", version["Version"], "podman", here)
        containerd = ["driver-type", "io.containerd.snapshotter.v1"] in (info.get("DriverStatus") or [])
        return EngineInfo("Docker", version["Version"], "containerd" if containerd else "classic", here)

    def container(self, name: str) -> Container:
        with errors(f"looking for the container {name!r}"):
            try:
                found = self._api.inspect_container(name)
            except (NotFound, NullResource):
                found = self._api.inspect_container(self._by_prefix(name))
        settings, state, config = found["NetworkSettings"], found["State"], found["Config"]
        networks = (settings.get("Networks") or {}).values()
        addresses = tuple(address for network in networks if (address := network.get("IPAddress")))
        on_host = found["HostConfig"].get("NetworkMode") == "host"
        return Container(
            id=found["Id"],
            name=found["Name"].removeprefix("/"),
            image_id=found["Image"],
            image_name=config.get("Image") or "",
            running=bool(state.get("Running")),
            paused=bool(state.get("Paused")),
            addresses=(self._host,) if on_host else addresses,
            exposed=tuple(sorted(int(port[:-4]) for port in config.get("ExposedPorts") or {} if port.endswith("/tcp"))),
            published=self._published(settings.get("Ports") or {}),
            mounts=_mounts(found),
            instance=instance(state),
            health_check=health_check(config.get("Healthcheck") or {}),
            restart_policy=restart_policy(found["HostConfig"]),
            labels=config.get("Labels") or {},
        )

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
        with pause.guarded(statefiles.directory(), self._address.url, container.id, self._given) as note:

            def begin() -> None:
                try:
                    with errors(f"pausing the container {container.name}"):
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
        with errors("looking at a container"):
            try:
                return bool(self._api.inspect_container(container_id)["State"]["Paused"])
            except NotFound:
                return False

    def resume(self, container_id: str) -> None:
        """Unpause a container; raises `EngineError` when it is still paused afterwards."""
        try:
            with errors("resuming the container"):
                self._api.unpause(container_id)
        except EngineError as error:
            if self.is_paused(container_id):
                error.hint = f"The container is still paused. Resume it with: docker unpause {container_id[:12]}"
                raise

    def mend(self) -> list[str]:
        """Put right what a dead process of ours left on this engine; gives what was done, a sentence each."""
        mended = []
        for left in pause.abandoned(statefiles.directory()):
            if left.host == self._address.url:
                if self.is_paused(left.container):
                    self.resume(left.container)
                    mended.append(f"the container {left.container[:12]} was left paused; it was resumed")
                left.journal.unlink(missing_ok=True)
        swept = temporary.sweep(statefiles.directory(), self._address.url, {"container": self._remove, "image": self._untag})
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
        with errors(f"starting the container {container.name}"):
            self._api.start(container.id)
        try:
            yield self.container(container.id)
        finally:
            with errors(f"stopping the container {container.name}"):
                patience = self._api.inspect_container(container.id)["Config"].get("StopTimeout")
                self._api.stop(container.id, timeout=STOP_TIMEOUT if patience is None else patience)

    def extent(self, container: Container, reader: Reader) -> int:
        size = "SizeRootFs" if isinstance(reader, ExportReader) else "SizeRw"
        return self._size_of(container, size)

    def _size_of(self, container: Container, what: str) -> int:
        """Bytes of what a container has written over its image (``SizeRw``), or of all its files (``SizeRootFs``)."""
        with errors(f"asking for the size of {container.name}"):
            response = self._api.get(url(self._api, f"/containers/{container.id}/json"), params={"size": "true"}, timeout=TIMEOUT)
            response.raise_for_status()
            return int(response.json().get(what) or 0)

    def changes(self, container: Container) -> dict[str, str]:
        kinds = {0: "changed", 1: "added", 2: "deleted"}
        try:
            with errors(f"comparing {container.name} with its image"):
                return {change["Path"]: kinds[change["Kind"]] for change in self._api.diff(container.id) or ()}
        except EngineError:
            if not self._is_podman:
                raise
        return self._archive_changes(container)

    def _archive_changes(self, container: Container) -> dict[str, str]:
        """The same, by the archives of the container and of its image: Podman fails where a directory replaced a file."""
        with self._unstarted(self.image(container.image_id)) as clean:
            walks = [ExportReader(files.stat, files.export, ()).walk() for files in map(self._files, (clean, container.id))]
            with closing(walks[0]) as before, closing(walks[1]) as now:
                changes = exportreader.changes(before, now)
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
            with errors("starting the new container"):
                self._api.start(name)
            yield self.container(name)

    @contextmanager
    def _temporary(self, image: Image, *, keep: bool = False, **options: Any) -> Iterator[str]:
        """The name of a container that is there for the length of the block; with ``keep`` longer when a model fails in it."""
        with temporary.noted(statefiles.directory(), self._address.url, "container") as (name, note):
            kept = False
            try:
                with errors(f"creating a container of {image.id}"):
                    self._api.create_container(image.id, name=name, **options)
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

    def _remove(self, name: str) -> bool:
        """Remove a temporary container; False when there is none."""
        with errors(f"removing the temporary container {name}"):
            try:
                self._api.remove_container(name, v=True, force=True)
            except NotFound:
                return False
        return True

    def put(self, container: Container, archive: Iterator[bytes]) -> None:
        self._files(container.id).put(archive, f"writing into {container.name}")

    def logs(self, container: Container) -> str:
        with errors(f"reading the log of {container.name}"):
            return str(self._api.logs(container.id, tail=LOG_LINES).decode("utf-8", "replace")).strip()

    @contextmanager
    def committed(self, container: Container) -> Iterator[Image]:
        with self._temporary_image() as name:
            repository, _, tag = name.partition(":")
            parameters = {"container": container.id, "repo": repository, "tag": tag, "pause": "true"}
            with errors(f"committing {container.name}"):
                limit = (TIMEOUT, patience(self._size_of(container, "SizeRw")))
                response = self._api.post(url(self._api, "/commit"), params=parameters, json={}, timeout=limit)
                response.raise_for_status()
            yield self.image(name)

    def _process(self, container_id: str) -> Process | None:
        with errors("looking at a container"):
            state = self._api.inspect_container(container_id)["State"]
        return Process(int(state["Pid"]), state["StartedAt"]) if state.get("Running") else None

    def image(self, name: str) -> Image:
        if not (found := self._inspected(name)):
            raise EngineError(
                f"the engine has only a part of the image {name}, and does not tell its layers",
                hint="Remove it, then load or pull it again.",
            )
        return found

    def _inspected(self, name: str) -> Image | None:
        """An image; None of which the engine does not tell the layers, as containerd's store has only a part of it."""
        with errors(f"looking for the image {name!r}"):
            try:
                found = self._api.inspect_image(name)  # type: ignore[no-untyped-call]
            except (NotFound, NullResource):
                raise NotFoundError(
                    f"the engine has no image {name!r}", hint="`docker images` lists those it has; load or pull the one you need."
                ) from None
        root = found.get("RootFS") or {}
        if root.get("Type") != "layers":
            return None
        created = found.get("Created") or ""
        return Image(
            id=found["Id"],
            names=tuple(sorted({tag for tag in found.get("RepoTags") or () if not tag.startswith(f"{temporary.IMAGES}:")})),
            repo_digests=tuple(sorted(found.get("RepoDigests") or ())),
            platform=Platform(os=found["Os"], architecture=found["Architecture"], variant=found.get("Variant") or None),
            diff_ids=tuple(Digest.parse(layer) for layer in root.get("Layers") or ()),
            config=found.get("Config") or {},
            created="" if created == _NO_TIME else created,
            size=found.get("Size") or 0,
        )

    def images(self) -> Iterator[Image]:
        with errors("listing the images"):
            ids = [image["Id"] for image in self._api.images()]
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
                return self._identified(image, name, loading.send(self._api, way, size, progress))
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

    def _ways(self, image: NewImage, base: Image, name: str) -> list[loading.Way]:
        count = len(image.base_diff_ids)
        others = (other for other in self.images() if other.id != base.id and other.diff_ids[:count] == image.base_diff_ids)
        return loading.ways(self._api, self.info().image_store, image, base, others, name)

    @contextmanager
    def _temporary_image(self) -> Iterator[str]:
        """A name for an image, which loses it after the block."""
        with temporary.noted(statefiles.directory(), self._address.url, "image") as (name, note):
            try:
                yield name
            finally:
                self._untag(name)
                note.settle()

    def _untag(self, name: str) -> bool:
        """Remove a temporary name of an image; False when there is none."""
        with errors(f"removing the temporary name {name}"):
            try:
                self._api.remove_image(name)
            except NotFound:
                return False
        return True

    def tag(self, image: Image, name: str) -> None:
        repository, _, tag = name.rpartition(":")
        with errors(f"naming the new image {name}"):
            self._api.tag(image.id, repository, tag, force=True)

    def _by_prefix(self, prefix: str) -> str:
        found = self._api.containers(all=True)
        matches = {
            container["Id"]: name.removeprefix("/")
            for container in found
            for name in container.get("Names") or ()
            if prefix and (name.removeprefix("/").startswith(prefix) or container["Id"].startswith(prefix))
        }
        if len(matches) == 1:
            return str(next(iter(matches)))
        if matches:
            raise NotFoundError(
                f"several containers begin with {prefix!r}", hint=f"Name one of: {', '.join(sorted(matches.values()))}"
            )
        names = sorted(name.removeprefix("/") for container in found for name in container.get("Names") or ())
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
        with errors("asking the engine what it is"):
            return self._is_podman or "name=userns" in (self._api.info().get("SecurityOptions") or ())

    @cached_property
    def _is_local(self) -> bool:
        """Whether the engine's processes are processes of this host, as far as its address tells."""
        return self._address.url.startswith("unix:")

    @cached_property
    def _host(self) -> str:
        """Where the engine's published ports are reached."""
        address = urlsplit(self._address.url)
        return address.hostname or _LOOPBACK if address.scheme in ("tcp", "http", "https") else _LOOPBACK

    def _published(self, ports: Mapping[str, Any]) -> dict[int, str]:
        published = {}
        for port, bindings in ports.items():
            if port.endswith("/tcp") and bindings:
                address = bindings[0]["HostIp"]
                host = self._host if address in _ANY_ADDRESS else address
                published[int(port[:-4])] = f"{host}:{bindings[0]['HostPort']}"
        return published


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


def _mounts(found: Mapping[str, Any]) -> dict[str, str]:
    mounts = {mount["Destination"]: mount["Type"] for mount in found.get("Mounts") or ()}
    return mounts | dict.fromkeys(found["HostConfig"].get("Tmpfs") or {}, "tmpfs")
