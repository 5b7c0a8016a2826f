"""How a new image is handed to an engine: in one of three dialects of an image archive."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial

from bundler.engines.connection import LONG_TIMEOUT, TIMEOUT, APIClient, errors, failure, stream, url
from bundler.format import imagearchive
from bundler.format.content import Readable
from bundler.format.imagearchive import Archive, NewImage
from bundler.ports import Image, Progress

Way = Callable[[], Iterable[bytes]]
"""Begins one archive of the new image."""


def ways(api: APIClient, image_store: str, image: NewImage, base: Image, name: str) -> list[Way]:
    """How to hand over a new image, the cheapest first; the last works with every engine."""
    full = partial(_full_archive, api, image, base, name)
    if image_store == "classic":
        return [partial(imagearchive.partial_docker_archive, image, name), full]
    if image_store == "containerd":
        return [partial(_partial_layout, api, image, base, name), full]
    return [full]


def send(api: APIClient, way: Way, progress: Progress) -> None:
    """Load one archive into the engine."""
    with errors("loading the new image"):
        archive = way()
        body = _Sized(archive, progress) if isinstance(archive, Archive) else _counted(archive, progress)
        with api.post(
            url(api, "/images/load"), data=body, params={"quiet": 1}, stream=True, timeout=(TIMEOUT, LONG_TIMEOUT)
        ) as response:
            response.raise_for_status()
            for line in response.iter_lines():
                if error := json.loads(line or b"{}").get("error"):
                    raise failure("loading the new image", str(error))


def _full_archive(api: APIClient, image: NewImage, base: Image, name: str) -> Iterator[bytes]:
    with _saved(api, base) as saved:
        yield from imagearchive.full_docker_archive(image, name, saved)


def _partial_layout(api: APIClient, image: NewImage, base: Image, name: str) -> Archive:
    with _saved(api, base) as saved:
        layers = imagearchive.layers_of_saved_oci_layout(saved, base.diff_ids)
    return imagearchive.partial_oci_layout(image, name, layers)


def _saved(api: APIClient, image: Image) -> AbstractContextManager[Readable]:
    return stream(api, f"saving the base image {image.id}", f"/images/{image.id}/get")


class _Sized:
    """An archive on its way, which is sent as a body of known length."""

    def __init__(self, archive: Archive, progress: Progress) -> None:
        self._archive = archive
        self._progress = progress

    def __len__(self) -> int:
        return len(self._archive)

    def __iter__(self) -> Iterator[bytes]:
        return _counted(self._archive, self._progress)


def _counted(body: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    for block in body:
        progress.advance(len(block))
        yield block
