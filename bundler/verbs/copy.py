"""The one verb between stores: bring a bundle from any store to any other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bundler.bundle import Bundle, read_bundle, referrers
from bundler.concurrency import parallel
from bundler.errors import IntegrityError
from bundler.format.artifact import Referrer
from bundler.format.content import Descriptor, Digest
from bundler.format.reference import image_tag
from bundler.ports import Displaced, Store, Upload
from bundler.streams import Progress, WatchedOpener, drain, watched

if TYPE_CHECKING:
    from bundler.verbs.early_upload import Sender

Guard = Callable[[Upload], AbstractContextManager[Upload]]
"""Stands before an upload for as long as it lasts, and may refuse what comes."""


@dataclass(frozen=True)
class CopyResult:
    """What a copy did: bytes that travelled in this run, and bytes of the bundle that did not have to."""

    bundle: Bundle
    sent: int
    skipped: int
    displaced: Displaced | None = None
    """The bundle that had the name before."""


@dataclass(frozen=True)
class Plan:
    """What a copy would do: the blobs that the target has, and those that it lacks."""

    bundle: Bundle
    there: Sequence[Descriptor]
    missing: Sequence[Descriptor]

    @property
    def size(self) -> int:
        """Bytes that would be sent."""
        return sum(blob.size for blob in self.missing)


def copy(
    source: Store,
    target: Store,
    progress: Progress,
    bundle: Bundle | None = None,
    guard: Guard = nullcontext,
    early: Sender | None = None,
) -> CopyResult:
    """Copy a bundle and what refers to it, such as signatures.

    In the target it appears only when all of it is there, under the digest that it has in the source. Layers stay sealed,
    unless a ``guard`` opens them. What ``early`` has begun is gone on with.
    """
    bundle = bundle or read_bundle(source)
    manifest = bundle.manifest
    others = referrers(source, bundle)
    blobs = _blobs(bundle, others)
    progress.stage(f"copying to {target.where}", sum(blob.size for blob in blobs))
    begun = nullcontext(early.upload) if early else target.upload(image_tag(bundle.metadata.model.version), source)
    with begun as opened, guard(opened) as upload:
        workers = 1 if target.ordered else max(source.parallel, target.parallel)
        carrier = _Carrier(source, upload, progress, workers, early)
        carrier.find_missing(blobs)
        upload.reserve(carrier.missing_size)
        carrier.carry(manifest.blobs if target.ordered or target.rereadable else _largest_first(manifest.blobs))
        upload.add(manifest.descriptor, manifest.data)
        for other in others:
            carrier.carry(other.blobs)
            upload.add(other.descriptor, other.data)
        displaced = upload.commit(manifest.descriptor)
    return CopyResult(bundle, upload.sent, max(0, sum(blob.size for blob in blobs) - upload.sent), displaced)


def plan(source: Store, target: Store, bundle: Bundle) -> Plan:
    """Look what a copy would have to send, and change nothing."""
    blobs = _blobs(bundle, referrers(source, bundle))
    there = [blob for blob in blobs if target.has(blob)]
    return Plan(bundle, there, [blob for blob in blobs if blob not in there])


def read_through(store: Store, bundle: Bundle, progress: Progress) -> None:
    """Read all of a bundle, and of what refers to it, to the end; raises `IntegrityError` for what is damaged."""
    blobs = _blobs(bundle, referrers(store, bundle))
    progress.stage(f"verifying {store.where}", sum(blob.size for blob in blobs))
    for blob in blobs:
        with watched(store.open(blob), progress) as content:
            drain(content)


class _Carrier:
    """Brings blobs from a store into an upload, several at once where both can."""

    def __init__(self, source: Store, upload: Upload, progress: Progress, workers: int, early: Sender | None) -> None:
        self._source = source
        self._upload = upload
        self._progress = progress
        self._workers = workers
        self._early = early
        self._under_way = early.begin_no_more() if early else None
        self._stop = early.stop if early else threading.Event()
        self._missing: dict[Digest, Descriptor] = {}
        self.missing_size = 0
        """Bytes that have to be brought."""

    def find_missing(self, blobs: Sequence[Descriptor]) -> None:
        """Ask the target which blobs it lacks."""
        self._each(self._look, {blob.digest: blob for blob in blobs}.values())
        self.missing_size = sum(blob.size for blob in self._missing.values())

    def carry(self, blobs: Sequence[Descriptor]) -> None:
        """Bring those that are missing, in this order."""
        self._each(self._bring, [self._missing.pop(blob.digest) for blob in blobs if blob.digest in self._missing])

    def _look(self, blob: Descriptor) -> None:
        if blob.digest != self._under_way and self._upload.has(blob):
            self._progress.advance(blob.size)
        else:
            self._missing[blob.digest] = blob

    def _bring(self, blob: Descriptor) -> None:
        if self._early and blob.digest == self._under_way and self._early.finish(blob.digest, self._progress):
            return
        opener = WatchedOpener(partial(self._source.open, blob), self._progress, self._stop)
        try:
            self._upload.put(blob, opener)
        except IntegrityError as error:
            if self._source.rereadable:
                raise
            self._progress.note(f"fetching it once more: {error.message}")
            self._upload.put(blob, opener)

    def _each(self, work: Callable[[Descriptor], None], blobs: Iterable[Descriptor]) -> None:
        parallel.each(work, blobs, self._workers, self._stop)


def _blobs(bundle: Bundle, referrers: Sequence[Referrer]) -> list[Descriptor]:
    """Each blob once, in the order in which it is carried."""
    return list(dict.fromkeys([*bundle.manifest.blobs, *(blob for referrer in referrers for blob in referrer.blobs)]))


def _largest_first(blobs: Sequence[Descriptor]) -> Sequence[Descriptor]:
    """So that where several travel at once none is left alone in the end; what comes nearby is verified in its own order."""
    return sorted(blobs, key=lambda blob: blob.size, reverse=True)
