"""Docker, and Podman by its Docker-compatible API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import urlsplit

from bundler.engines import temporary_objects
from bundler.engines.address import DEFAULT, Address, resolve
from bundler.engines.connection import TIMEOUT, Client, connect
from bundler.engines.containers import Containers
from bundler.engines.engine_facts import EngineFacts
from bundler.engines.file_systems import FileSystems
from bundler.engines.image_loading import ImageLoader
from bundler.engines.images import Images
from bundler.engines.pausing import Pauser
from bundler.engines.replacements import Replacements
from bundler.engines.ssh import Forward
from bundler.engines.temporary_containers import TemporaryContainers
from bundler.engines.temporary_images import TemporaryImages
from bundler.errors import EngineError
from bundler.format.image_archive import NewImage
from bundler.format.whiteouts import Listed
from bundler.localfs import state_directory
from bundler.ports import Container, EngineInfo, Image, Reader, RunOptions
from bundler.streams import Progress, Readable


class DockerEngine:
    """The engine at ``host``; by default that of ``DOCKER_HOST``, ``DOCKER_CONTEXT`` or Docker's configuration.

    A stream of a container may send nothing for ``silence`` seconds.
    """

    image_loader = ImageLoader

    def __init__(self, host: str | None = None, silence: float = TIMEOUT) -> None:
        self._address = resolve(host)
        self._tunnel: Forward | None = None
        api = self._connect()
        self._facts = EngineFacts(api)
        self._containers = Containers(api, silence)
        self._images = Images(api, self._facts)
        self._pauser = Pauser(api, self._facts, self._containers, host or "")
        self._temporary_containers = TemporaryContainers(api, self._containers)
        self._replacements = Replacements(api, self._facts, self._containers, self._temporary_containers)
        loader = self.image_loader(api, self._facts, self._images)
        self._temporary_images = TemporaryImages(api, self._containers, self._images, loader)
        self._files = FileSystems(api, self._facts, self._containers, self._images, self._temporary_containers, silence)

    def _connect(self) -> Client:
        url = self._address.url
        if not url.startswith("ssh://"):
            return connect(self._address, url)
        self._tunnel = Forward(url, urlsplit(url).path.rstrip("/") or urlsplit(DEFAULT).path)
        try:
            return connect(Address(f"unix://{self._tunnel.path}"), url)
        except EngineError as error:
            if output := self._tunnel.last_output():
                error.message += f"; ssh: {output}"
            raise

    def info(self) -> EngineInfo:
        return self._facts.info

    def container(self, name: str) -> Container:
        return self._containers.container(name)

    def logs(self, container: Container) -> str:
        return self._containers.logs(container)

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

    def paused(self, container: Container) -> AbstractContextManager[None]:
        return self._pauser.paused(container)

    def is_paused(self, container_id: str) -> bool:
        """Whether a container is paused; a removed one is not."""
        return self._pauser.is_paused(container_id)

    def resume(self, container_id: str) -> None:
        """Unpause a container; raises `EngineError` when it is still paused afterwards."""
        self._pauser.resume(container_id)

    def recover(self) -> list[str]:
        """Clean up after killed processes of ours on this engine; returns what was done."""
        removers = {"container": self._temporary_containers.remove, "image": self._temporary_images.untag}
        resumed = self._pauser.resume_abandoned() + self._replacements.recover()
        removed = temporary_objects.sweep(state_directory.directory(), self._address.url, removers)
        return resumed + [f"removed {name}" for name in removed]

    def started(self, container: Container) -> AbstractContextManager[Container]:
        return self._temporary_containers.started(container)

    def created(self, image: Image) -> AbstractContextManager[Container]:
        return self._temporary_containers.created(image)

    def running(self, image: Image, options: RunOptions, *, keep: bool) -> AbstractContextManager[Container]:
        return self._temporary_containers.running(image, options, keep=keep)

    def check_replaceable(self, old: Container) -> None:
        self._replacements.check(old)

    def replaced(self, old: Container, image: Image, name: str, exports: Sequence[str]) -> AbstractContextManager[Container]:
        return self._replacements.replaced(old, image, name, exports)

    def exchanged(self, current: Container) -> AbstractContextManager[Container]:
        return self._replacements.exchanged(current)

    def probed(self, container: Container) -> Container:
        return self._replacements.probed(container)

    def reader(self, container: Container, wanted: str) -> Reader:
        return self._files.reader(container, wanted)

    def extent(self, container: Container, reader: Reader) -> int:
        return self._files.extent(container, reader)

    def changes(self, container: Container) -> dict[str, str]:
        return self._files.changes(container)

    def size(self, container: Container, path: str) -> int:
        return self._files.size(container, path)

    def listing(self, base: Image, exports: Sequence[str]) -> Iterator[Listed]:
        return self._files.listing(base, exports)

    def put(self, container: Container, archive: Iterator[bytes]) -> None:
        self._files.put(container, archive)

    def image(self, name: str) -> Image:
        return self._images.image(name)

    def images(self) -> Iterator[Image]:
        return self._images.images()

    def saved(self, image: Image) -> AbstractContextManager[Readable]:
        return self._images.saved(image)

    def holding(self, new: NewImage) -> Image | None:
        return self._images.holding(new)

    def committed(self, container: Container) -> AbstractContextManager[Image]:
        return self._temporary_images.committed(container)

    def loaded(self, image: NewImage, base: Image, progress: Progress) -> AbstractContextManager[Image]:
        return self._temporary_images.loaded(image, base, progress)

    def tag(self, image: Image, name: str) -> None:
        self._images.tag(image, name)
