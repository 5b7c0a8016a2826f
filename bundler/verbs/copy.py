"""Copy: transfer a bundle from any store to any other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bundler.bundle import Bundle, read_bundle, referrers
from bundler.concurrency import parallel
from bundler.errors import IntegrityError, OtherCompressionError
from bundler.format.artifact import Manifest, Referrer
from bundler.format.content import Descriptor, Digest
from bundler.format.delta_manifest import DeltaManifest
from bundler.format.reference import image_tag
from bundler.ports import Displaced, Recompressing, Store, Upload
from bundler.streams import Progress, WatchedOpener, drain, watched

if TYPE_CHECKING:
    from bundler.verbs.early_upload import Sender


@dataclass(frozen=True)
class CopyResult:
    """The result of a copy: bytes that were sent in this run, and bytes of the bundle that were skipped."""

    bundle: Bundle
    sent: int
    skipped: int
    displaced: Displaced | None = None
    """The bundle that had the tag before."""
    delta: DeltaManifest | None = None
    """The delta that was copied in place of the bundle."""


@dataclass(frozen=True)
class Plan:
    """What a copy would do: the blobs that the target has, and the missing ones."""

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
    wrap: Callable[[Upload], Upload] = lambda upload: upload,
    early: Sender | None = None,
    delta: DeltaManifest | None = None,
) -> CopyResult:
    """Copy a bundle, or the ``delta`` that makes it, and what refers to the bundle, such as signatures.

    The target tags the bundle only when it is complete, with the same digest as in the source. Layers are not decompressed,
    unless the upload that ``wrap`` returns does it. An upload that ``early`` has started is continued.
    """
    bundle = bundle or read_bundle(source)
    manifest = delta or bundle.manifest
    attached = referrers(source, bundle)
    blobs = _blobs(manifest, attached)
    progress.stage(f"copying to {target.where}", sum(blob.size for blob in blobs))
    started = nullcontext(early.upload) if early else target.upload(image_tag(bundle.metadata.model.version), source)
    with started as opened:
        upload = wrap(opened)
        makes_layers = isinstance(source, Recompressing)  # one at a time: each takes memory, and all cores
        workers = 1 if target.ordered or makes_layers else max(source.parallel, target.parallel)
        transfer = _Transfer(source, upload, progress, workers, early)
        transfer.find_missing(blobs)
        upload.reserve(transfer.missing_size)
        transfer.send(manifest.blobs if target.ordered or target.rereadable else _largest_first(manifest.blobs))
        upload.add(manifest.descriptor, manifest.data)
        for referrer in attached:
            transfer.send(referrer.blobs)
            upload.add(referrer.descriptor, referrer.data)
        displaced = upload.commit(manifest.descriptor)
    return CopyResult(bundle, upload.sent, max(0, sum(blob.size for blob in blobs) - upload.sent), displaced, delta)


def plan(source: Store, target: Store, bundle: Bundle, delta: DeltaManifest | None = None) -> Plan:
    """Find out which blobs a copy would send, without any change."""
    blobs = _blobs(delta or bundle.manifest, referrers(source, bundle))
    there = [blob for blob in blobs if target.has(blob)]
    return Plan(bundle, there, [blob for blob in blobs if blob not in there])


def read_through(store: Store, bundle: Bundle, progress: Progress) -> None:
    """Read all blobs of a bundle and of its referrers to the end; raises `IntegrityError` for damaged ones."""
    blobs = _blobs(bundle.manifest, referrers(store, bundle))
    progress.stage(f"verifying {store.where}", sum(blob.size for blob in blobs))
    for blob in blobs:
        with watched(store.open(blob), progress) as content:
            drain(content)


class _Transfer:
    """Sends blobs from a store to an upload, several at once where both stores support it."""

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
        """Bytes to send."""

    def find_missing(self, blobs: Sequence[Descriptor]) -> None:
        """Find the blobs that the target does not have."""
        self._each(self._check_one, {blob.digest: blob for blob in blobs}.values())
        self.missing_size = sum(blob.size for blob in self._missing.values())

    def send(self, blobs: Sequence[Descriptor]) -> None:
        """Send the missing blobs in this order."""
        self._each(self._send_one, [self._missing.pop(blob.digest) for blob in blobs if blob.digest in self._missing])

    def _check_one(self, blob: Descriptor) -> None:
        if blob.digest != self._under_way and self._upload.has(blob):
            self._progress.advance(blob.size)
        else:
            self._missing[blob.digest] = blob

    def _send_one(self, blob: Descriptor) -> None:
        if self._early and blob.digest == self._under_way and self._early.finish(blob.digest, self._progress):
            return
        opener = WatchedOpener(partial(self._source.open, blob), self._progress, self._stop)
        try:
            self._upload.put(blob, opener)
        except OtherCompressionError:
            raise
        except IntegrityError as error:
            if self._source.rereadable:
                raise
            self._progress.note(f"fetching the blob once more: {error.message}")
            self._upload.put(blob, opener)

    def _each(self, work: Callable[[Descriptor], None], blobs: Iterable[Descriptor]) -> None:
        parallel.each(work, blobs, self._workers, self._stop)


def _blobs(manifest: Manifest | DeltaManifest, referrers: Sequence[Referrer]) -> list[Descriptor]:
    """Return each blob once, in the order in which they are sent."""
    return list(dict.fromkeys([*manifest.blobs, *(blob for referrer in referrers for blob in referrer.blobs)]))


def _largest_first(blobs: Sequence[Descriptor]) -> Sequence[Descriptor]:
    """Sort blobs so that no large one is sent alone at the end; local targets keep the order of the manifest to verify it."""
    return sorted(blobs, key=lambda blob: blob.size, reverse=True)
