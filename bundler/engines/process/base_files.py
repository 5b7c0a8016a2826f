"""The image that a container was started from, or its clean base, as a store has it: its layers are read one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

import platformdirs

from bundler.engines.base_listing_cache import BaseListingCache
from bundler.engines.process.layer_files import LayeredListing, Sample
from bundler.engines.process.overlay import Overlay
from bundler.engines.process.sample_cache import SampleCache
from bundler.errors import BaseMismatchError, Mismatch
from bundler.format import units
from bundler.format.content import Digest
from bundler.format.image import chain_id
from bundler.format.whiteouts import Listed
from bundler.ports import Image
from bundler.streams import Progress, Readable

OpenLayer = Callable[[], AbstractContextManager[Readable]]
"""Opens a layer as uncompressed tar."""

_HINT = "Name the image that the container was started from with --base."


@dataclass(frozen=True)
class StoredImage:
    """An image in a store; ``where`` is its reference, and ``layers`` opens its layers, lowest first."""

    image: Image
    where: str
    layers: Sequence[OpenLayer]


class BaseFiles:
    """The files of a stored image, compared with the overlay of a container where that can be seen."""

    def __init__(self, stored: StoredImage, overlay: Overlay | None, progress: Progress) -> None:
        self._stored = stored
        self._overlay = overlay
        self._progress = progress

    def check_layers(self) -> None:
        """Raise `BaseMismatchError` when the container has fewer layers than the image; warn of what cannot be checked."""
        wanted, where = len(self._stored.layers), self._stored.where
        if self._overlay is None:
            self._progress.warn(
                f"the container's layers cannot be seen from here: whether it was started from {where} was not checked"
            )
            return
        found = len(self._overlay.lower)
        if found < wanted:
            mismatch = Mismatch("number of layers", str(wanted), str(found))
            raise BaseMismatchError(f"the container was not started from {where}", mismatches=[mismatch], hint=_HINT)
        if found > wanted:
            more = units.counted(found - wanted, "more layer")
            self._progress.warn(
                f"the image of the container has {more} than {where}: what they add outside of the exports is not in the bundle"
            )

    def listing(self, base: Image, exports: Sequence[str]) -> Iterator[Listed]:
        """Yield what the leading layers have at and below these paths; raises `BaseMismatchError` for another container's image.

        The layers are read once for each base and export list; a cache keeps the result, and samples for the comparison.
        """
        directory = platformdirs.user_cache_path("fps-bundle")
        cache, samples = BaseListingCache(directory / "listings"), SampleCache(directory / "samples")
        chain = chain_id(base.diff_ids)
        listing = cache.find(chain, exports)
        known = [samples.find(diff_id) for diff_id in base.diff_ids] if self._overlay else []
        if listing is not None and all(it is not None for it in known):
            for number, kept in enumerate(known):
                self._compare(number, kept or ())
            return listing
        with closing(LayeredListing(exports)) as layers:
            for number, diff_id in enumerate(base.diff_ids):
                self._progress.note(f"reading layer {number + 1} of {len(base.diff_ids)} of {self._stored.where}")
                with self._stored.layers[number]() as content:
                    found = layers.add_layer(content, diff_id, self._stored.where)
                samples.keep(diff_id, found)
                self._compare(number, found)
            return cache.keep(chain, exports, layers.entries())

    def _compare(self, number: int, samples: Sequence[Sample]) -> None:
        if self._overlay and (difference := self._overlay.mismatch(number, samples)):
            diff_id: Digest = self._stored.image.diff_ids[number]
            mismatch = Mismatch(f"layer {number + 1}", str(diff_id), difference)
            raise BaseMismatchError(f"the container was not started from {self._stored.where}", mismatches=[mismatch], hint=_HINT)
