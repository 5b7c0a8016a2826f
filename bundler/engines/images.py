"""Lookup and tags of images."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from bundler.engines import answers, conversion
from bundler.engines.connection import LOOK_AT_LOG, Client, NotFound, NullResource, errors, patience, stream
from bundler.engines.engine_facts import EngineFacts
from bundler.errors import BusyError, EngineError, NotFoundError
from bundler.format.image_archive import NewImage
from bundler.ports import Image
from bundler.streams import Readable

MOST_IMAGES = 20_000
"""Largest number of images that are inspected, each by a request of its own."""


class Images:
    """The images of an engine."""

    def __init__(self, api: Client, facts: EngineFacts) -> None:
        self._api = api
        self._facts = facts

    def image(self, name: str) -> Image:
        image = self._inspect(name)
        if not image:
            raise EngineError(
                f"the engine has only a part of the image {name}, and does not report its layers",
                hint="Remove it, then load or pull it again.",
            )
        return image

    def images(self) -> Iterator[Image]:
        with errors(self._api, "listing the images"):
            ids = [image.id for image in answers.read_list(answers.ListedImage, self._api.images())]
            if len(ids) > MOST_IMAGES:
                raise answers.BadAnswer(f"it has more than {MOST_IMAGES} images")
        for image_id in dict.fromkeys(ids):
            with contextlib.suppress(NotFoundError):  # removed since the list was made
                if image := self._inspect(image_id):
                    yield image

    def saved(self, image: Image) -> AbstractContextManager[Readable]:
        """Stream the archive of an image, as ``docker save`` writes it."""
        doing, endpoint = f"saving the image {image.id}", f"/images/{image.id}/get"
        return stream(self._api, doing, endpoint, silence=patience(image.size))

    def holding(self, new: NewImage) -> Image | None:
        if self._facts.has_config_ids:
            with contextlib.suppress(NotFoundError):
                image = self.image(str(new.config_digest))
                return image if image.diff_ids == new.diff_ids else None
            return None
        return next((image for image in self.images() if self.is_same(image, new)), None)

    def is_same(self, image: Image, new: NewImage) -> bool:
        """Whether an image is the new one: by its ID, or by what an engine without config IDs reports of the config."""
        if self._facts.has_config_ids:
            return image.id == str(new.config_digest)
        config = json.loads(new.config)  # without its history, which the engine does not report
        return (image.diff_ids, image.created, _without_empty(image.config)) == (
            new.diff_ids,
            config.get("created", ""),
            _without_empty(config["config"]),
        )

    def tag(self, image: Image, name: str) -> None:
        repository, _, tag = name.rpartition(":")
        before = None
        with contextlib.suppress(NotFoundError):
            before = self._inspect(name)
        with errors(self._api, f"tagging the new image {name}"):
            self._api.tag(image.id, repository, tag, force=True)
        now = self.created(name, f"tagged an image {name}")
        if now.id == image.id:
            return
        if before and now.id == before.id:
            raise EngineError(f"the engine reported that it tagged an image {name}, but the tag did not move", hint=LOOK_AT_LOG)
        raise BusyError(
            f"{name} is not the image that was just tagged: another process moved the tag",
            hint="Inspect the image, then run the command again.",
        )

    def created(self, name: str, action: str) -> Image:
        """Look up an image after the engine reported ``action``."""
        try:
            return self.image(name)
        except NotFoundError:
            raise EngineError(f"the engine reported that it {action}, but it has no image {name}", hint=LOOK_AT_LOG) from None

    def _inspect(self, name: str) -> Image | None:
        """Look up an image; None if the engine does not report its layers: containerd's store has only a part of it."""
        with errors(self._api, f"looking for the image {name!r}"):
            try:
                document = answers.read(answers.InspectedImage, self._api.inspect_image(name))  # type: ignore[no-untyped-call]
            except (NotFound, NullResource):
                raise NotFoundError(
                    f"the engine has no image {name!r}", hint="List the images with `docker images`; load or pull the missing one."
                ) from None
        return conversion.image(document)


def _without_empty(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not empty; Docker before 28 reports empty ones, too."""
    return {key: value for key, value in config.items() if value}
