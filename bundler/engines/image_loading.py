"""How a new image is handed to an engine: in one of three dialects of an image archive."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain

from bundler.engines import answers
from bundler.engines.connection import TIMEOUT, Client, errors, failure, patience, stream, url
from bundler.errors import EngineError
from bundler.format import image_archive
from bundler.format.content import Descriptor
from bundler.format.image_archive import Archive, NewImage
from bundler.ports import Image
from bundler.streams import Progress, Readable

Way = Callable[[], Iterable[bytes]]
"""Begins one archive of the new image."""

MOST_REPORTED = 10
"""Images of which an engine is believed that it loaded them; an archive holds one."""

_REPORT = re.compile(r"Loaded image(?: ID)?: *(\S+)")
"""What Docker and Podman say of each image that they loaded: its name, or the ID of one without a name."""


def ways(api: Client, image_store: str, image: NewImage, base: Image, others: Iterable[Image], name: str) -> list[Way]:
    """How to hand over a new image, the cheapest first; ``others`` are images that begin with the base's layers, too."""
    full = partial(_full_archive, api, image, base, name)
    if image_store == "classic":
        return [partial(image_archive.partial_docker_archive, image, name), full]
    if image_store == "containerd":
        return [partial(_partial_layout, api, image, chain([base], others), name), full]
    return [full]


def send(api: Client, way: Way, size: int, progress: Progress) -> list[str]:
    """Load one archive into the engine; gives the names or IDs of what it says that it loaded.

    ``size`` is that of the image in bytes, uncompressed: an engine sends nothing while it works on it.
    """
    with errors(api, "loading the new image"):
        archive = way()
        body = _Sized(archive, progress) if isinstance(archive, Archive) else _counted(archive, progress)
        response = api.post(url(api, "/images/load"), data=body, params={"quiet": 1}, timeout=(TIMEOUT, patience(size)))
        response.raise_for_status()
        reported = []
        for line in filter(None, response.content.splitlines()):
            said = answers.read(answers.LoadLine, answers.parse(line))
            if said.error:
                raise failure("loading the new image", said.error)
            reported += _REPORT.findall(said.stream)
    return reported[:MOST_REPORTED]


def _full_archive(api: Client, image: NewImage, base: Image, name: str) -> Iterator[bytes]:
    with _saved(api, base) as saved:
        yield from image_archive.full_docker_archive(image, name, saved)


def _partial_layout(api: Client, image: NewImage, bases: Iterable[Image], name: str) -> Archive:
    return image_archive.partial_oci_layout(image, name, _layers(api, image, bases))


def _layers(api: Client, image: NewImage, bases: Iterable[Image]) -> list[Descriptor]:
    """The base's layers as the engine's content store has them.

    A base can be there without the content that its manifest names: containerd does not fetch a layer that it has unpacked
    already, out of another image with another compression. Then that other image has the layers.
    """
    failures = []
    for base in bases:
        try:
            with _saved(api, base) as saved:
                return image_archive.layers_of_saved_oci_layout(saved, base.diff_ids)[: len(image.base_diff_ids)]
        except EngineError as error:
            failures.append(error)
    raise failures[0]


def _saved(api: Client, image: Image) -> AbstractContextManager[Readable]:
    doing, endpoint = f"saving the base image {image.id}", f"/images/{image.id}/get"
    return stream(api, doing, endpoint, silence=patience(image.size))


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
