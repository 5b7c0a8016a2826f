"""New images: committed or loaded under a temporary name that is removed after the block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from bundler.engines import temporary_objects
from bundler.engines.connection import LOOK_AT_LOG, TIMEOUT, Client, NotFound, errors, patience, url
from bundler.engines.containers import Containers
from bundler.engines.image_loading import ImageLoader
from bundler.engines.images import Images
from bundler.errors import EngineError, NoSpaceError
from bundler.format.image_archive import NewImage
from bundler.localfs import state_directory
from bundler.ports import Container, Image
from bundler.streams import Progress


class TemporaryImages:
    """Makes images, and removes their temporary names."""

    def __init__(self, api: Client, containers: Containers, images: Images, loader: ImageLoader) -> None:
        self._api = api
        self._containers = containers
        self._images = images
        self._loader = loader

    @contextmanager
    def committed(self, container: Container) -> Iterator[Image]:
        with self._name() as name:
            repository, _, tag = name.partition(":")
            parameters = {"container": container.id, "repo": repository, "tag": tag, "pause": "true"}
            with errors(self._api, f"committing {container.name}"):
                limit = (TIMEOUT, patience(self._containers.sized(container).size_rw))
                response = self._api.post(url(self._api, "/commit"), params=parameters, json={}, timeout=limit)
                response.raise_for_status()
            yield self._images.created(name, f"committed {container.name}")

    @contextmanager
    def loaded(self, image: NewImage, base: Image, progress: Progress) -> Iterator[Image]:
        with self._name() as name:
            yield self._load(image, base, name, progress)

    def untag(self, name: str) -> bool:
        """Remove a temporary name of an image; False if it does not exist."""
        with errors(self._api, f"removing the temporary name {name}"):
            try:
                self._api.remove_image(name)
            except NotFound:
                return False
            with contextlib.suppress(NotFound):
                self._api.inspect_image(name)  # type: ignore[no-untyped-call]
                raise EngineError(f"the engine reported that it removed the tag {name}, but it still exists", hint=LOOK_AT_LOG)
        return True

    @contextmanager
    def _name(self) -> Iterator[str]:
        """Give a name for an image, and remove it after the block."""
        with temporary_objects.noted(state_directory.directory(), self._api.where, "image") as (name, note):
            try:
                yield name
            finally:
                self.untag(name)
                note.settle()

    def _load(self, image: NewImage, base: Image, name: str, progress: Progress) -> Image:
        """Try one archive format after the other; a failed one leaves no image."""
        archives = self._loader.archives(image, base, name)
        size = base.size + sum(layer.description.size for layer in image.layers)
        for number, archive in enumerate(archives, start=1):
            try:
                return self._loader.identify(image, name, self._loader.send(archive, size, progress))
            except NoSpaceError:
                raise
            except EngineError as error:
                self.untag(name)
                if number == len(archives):
                    raise
                progress.warn(f"{error.message}; trying again with all layers of the base")
        raise AssertionError("there is at least one archive format")
