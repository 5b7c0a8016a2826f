"""A process of any runtime on this host, in place of an engine that has its container."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from bundler.engines.direct_reader import DirectReader, Process
from bundler.engines.process import addresses, cgroup, identity, mount_table, overlay, pausing
from bundler.engines.process.base_files import BaseFiles, StoredImage
from bundler.engines.process.image_files import ImageFiles
from bundler.engines.process.only_running import OnlyRunning
from bundler.engines.process.reader import ProcessReader
from bundler.errors import EngineError, ModelError, NotFoundError, UsageError
from bundler.format.content import Digest
from bundler.format.image_archive import NewImage
from bundler.format.whiteouts import Listed
from bundler.ports import Container, EngineInfo, Image, Reader
from bundler.streams import Progress

NAME = "process"
_BASE = "the clean base"
_READER_HINT = "Use the PID of the container's main process; the container must run without a user namespace."


class ProcessEngine(OnlyRunning):
    """The container of one process, and the image that a store has of it.

    Raises `NotFoundError` for a PID without a process, `AuthorizationError` when not run by root, `UsageError` for a process that
    is in no container of its own, and `BaseMismatchError` for another container's image.
    """

    def __init__(self, pid: int, stored: StoredImage, progress: Progress) -> None:
        self._process = identity.find(pid)
        self._freezer = cgroup.find(self._process)
        self._stored = stored
        table = mount_table.read(self._read("mountinfo"))
        self._mounts = mount_table.of_container(table)
        self._overlay = overlay.find(mount_table.root(table))
        self._base = BaseFiles(stored, self._overlay, progress)
        self._base.check_layers()
        self._files = self._reader(extended=False)

    def info(self) -> EngineInfo:
        return EngineInfo(NAME, "", "", "")

    def container(self, name: str) -> Container:
        """Return the container of the process, whose PID is ``name``."""
        if name != str(self._process.pid):
            raise NotFoundError(f"there is no container of the process {name!r}", hint=f"Use the PID {self._process.pid}.")
        path = self._freezer.path
        last = path.rpartition("/")[2]
        image = self._stored.image
        return Container(
            id=path,
            name=last.removesuffix(".scope"),
            image_id=image.id,
            image_name=image.names[0] if image.names else "",
            running=True,
            paused=False,
            addresses=addresses.of(self._process),
            exposed=addresses.exposed(image.config),
            published={},
            mounts=self._mounts,
            instance=self._process.started,
        )

    def paused(self, container: Container) -> AbstractContextManager[None]:
        return pausing.paused(container, self._process, self._freezer)

    @contextmanager
    def route(self, endpoint: str) -> Iterator[str]:
        yield endpoint

    def reader(self, container: Container, wanted: str) -> Reader:
        if container.id == _BASE:
            return ImageFiles(self._seen_overlay("looking up files of the clean base"), int(container.instance))
        if wanted == "api":
            raise UsageError("a process has no engine that could send its files", hint="Omit --reader.")
        return self._reader(extended=wanted == "extended")

    def extent(self, container: Container, reader: Reader) -> int:
        del container, reader
        return 0  # every reader of a process measures the files itself

    def changes(self, container: Container) -> dict[str, str]:
        del container
        return self._seen_overlay("comparing the container with its image").changes()

    def size(self, container: Container, path: str) -> int:
        del container
        return next((seen.length for seen in self._files.survey([path], lambda _: False)), 0)

    def listing(self, base: Image, exports: Sequence[str]) -> Iterator[Listed]:
        return self._base.listing(base, exports)

    def image(self, name: str) -> Image:
        if name != self._stored.image.id:
            raise NotFoundError(f"{self._stored.where} is not the image {name}", hint="Name the image with --base.")
        return self._stored.image

    def images(self) -> Iterator[Image]:
        yield self._stored.image

    @contextmanager
    def created(self, image: Image) -> Iterator[Container]:
        """Stand in for a container of the clean base: `reader` then looks its files up in the layers of the container."""
        layers = str(len(image.diff_ids))
        yield Container(_BASE, _BASE, image.id, "", False, False, (), (), {}, {}, instance=layers)

    @contextmanager
    def loaded(self, image: NewImage, base: Image, progress: Progress) -> Iterator[Image]:
        """Give the image of the leading layers of the stored one; nothing is loaded anywhere."""
        del progress
        count = len(image.diff_ids)
        if image.layers or base.diff_ids[:count] != image.diff_ids:
            raise self.refusal("load an image")
        digest: Digest = image.config_digest
        yield Image(str(digest), (), (), base.platform, image.diff_ids, base.config, "", 0)

    def _reader(self, *, extended: bool) -> ProcessReader:
        process = Process(self._process.pid, self._process.started)
        inner = DirectReader.of(self._freezer.path, lambda: process if self._process.is_alive else None, extended=extended)
        if not inner:
            self._check_alive()
            raise ModelError(
                f"the files of process {self._process.pid} cannot be read as the container sees them: it has a user namespace, or "
                "has changed its root directory",
                hint=_READER_HINT,
            )
        return ProcessReader(self._process, inner)

    def _read(self, name: str) -> bytes:
        try:
            return (self._process.home / name).read_bytes()
        except OSError as error:
            self._check_alive()
            raise EngineError(f"cannot read {self._process.home / name}: {error.strerror}") from error

    def _check_alive(self) -> None:
        if not self._process.is_alive:
            raise ModelError(f"process {self._process.pid} has ended", hint="Start the model again.")

    def _seen_overlay(self, doing: str) -> overlay.Overlay:
        if not self._overlay:
            raise EngineError(
                f"{doing} is not possible: its layers cannot be seen from here", hint="Push without --audit and --strict."
            )
        return self._overlay
