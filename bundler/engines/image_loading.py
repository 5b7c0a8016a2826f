"""Loading of a new image into an engine, as an image archive in one of three formats."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

from bundler.engines import answers
from bundler.engines.connection import TIMEOUT, Client, errors, failure, patience, url
from bundler.engines.engine_facts import EngineFacts
from bundler.engines.images import Images
from bundler.errors import EngineError, NotFoundError
from bundler.format import image_archive
from bundler.format.content import Descriptor
from bundler.format.image_archive import Archive, NewImage
from bundler.ports import Image
from bundler.streams import Progress

OpenArchive = Callable[[], Iterable[bytes]]
"""Begins an image archive of the new image."""

MOST_REPORTED = 10
"""Largest number of reported images that are looked up; an archive contains one."""

_REPORT = re.compile(r"Loaded image(?: ID)?: *(\S+)")
"""The report of Docker and Podman for each loaded image: its name, or its ID if it has no name."""


class ImageLoader:
    """Sends image archives to an engine, and identifies the loaded image."""

    def __init__(self, api: Client, facts: EngineFacts, images: Images) -> None:
        self._api = api
        self._facts = facts
        self._images = images

    def archives(self, image: NewImage, base: Image, name: str) -> list[OpenArchive]:
        """The archive formats that the engine may accept, the smallest first."""
        full = partial(self._full_archive, image, base, name)
        store = self._facts.info.image_store
        if store == "classic":
            return [partial(image_archive.partial_docker_archive, image, name), full]
        if store == "containerd":
            return [partial(self._partial_layout, image, base, name), full]
        return [full]

    def send(self, open_archive: OpenArchive, size: int, progress: Progress) -> list[str]:
        """Load one archive into the engine; returns the names or IDs that it reports.

        ``size`` is the uncompressed size of the image in bytes: an engine sends nothing while it unpacks it.
        """
        with errors(self._api, "loading the new image"):
            archive = open_archive()
            body = _Sized(archive, progress) if isinstance(archive, Archive) else _counted(archive, progress)
            limit = (TIMEOUT, patience(size))
            response = self._api.post(url(self._api, "/images/load"), data=body, params={"quiet": 1}, timeout=limit)
            response.raise_for_status()
            reported = []
            for data in filter(None, response.content.splitlines()):
                line = answers.read(answers.LoadLine, answers.parse(data))
                if line.error:
                    raise failure("loading the new image", line.error)
                reported += _REPORT.findall(line.stream)
        return reported[:MOST_REPORTED]

    def identify(self, new: NewImage, name: str, reported: Sequence[str]) -> Image:
        """Find the loaded image and give it its temporary name. Engines rewrite names, so ``reported`` ones are tried, too."""
        for reference in (name, *reported):
            with contextlib.suppress(NotFoundError):
                image = self._images.image(reference)
                if self._images.is_same(image, new):
                    if reference != name:
                        self._images.tag(image, name)
                    return image
        raise EngineError(
            f"the engine reported that it loaded {', '.join(reported) or 'nothing'}, but it has no image of these layers",
            hint="Report this, with the engine's name and version.",
        )

    def _full_archive(self, image: NewImage, base: Image, name: str) -> Iterator[bytes]:
        with self._images.saved(base) as saved:
            yield from image_archive.full_docker_archive(image, name, saved)

    def _partial_layout(self, image: NewImage, base: Image, name: str) -> Archive:
        return image_archive.partial_oci_layout(image, name, self._layers(image, base))

    def _layers(self, image: NewImage, base: Image) -> list[Descriptor]:
        """The base's layers as the engine's content store has them.

        A base can lack the content that its manifest names: containerd does not fetch a layer that it has unpacked
        already, from another image with another compression. Then that other image has the layers.
        """
        count = len(image.base_diff_ids)
        others = (other for other in self._images.images() if other.id != base.id and other.diff_ids[:count] == image.base_diff_ids)
        failures = []
        for candidate in chain([base], others):
            try:
                with self._images.saved(candidate) as saved:
                    return image_archive.layers_of_saved_oci_layout(saved, candidate.diff_ids)[:count]
            except EngineError as error:
                failures.append(error)
        raise failures[0]


class _Sized:
    """A request body of known length."""

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
