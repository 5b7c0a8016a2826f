"""The one verb between stores: bring a bundle from any store to any other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bundler import parallel
from bundler.errors import IntegrityError, NotFoundError
from bundler.format import artifact, document
from bundler.format.artifact import Manifest, Referrer
from bundler.format.content import Descriptor, Digest, drain
from bundler.format.have import Had
from bundler.format.reference import image_tag
from bundler.ports import Displaced, Named, Progress, Store, Upload
from bundler.watched import WatchedOpener, watched

if TYPE_CHECKING:
    from bundler.format.metadata import Metadata
    from bundler.sending import Sender

_log = logging.getLogger(__name__)

Guard = Callable[[Upload], AbstractContextManager[Upload]]
"""Stands before an upload for as long as it lasts, and may refuse what comes."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was found in a store, with its manifest and metadata read and verified."""

    manifest: Manifest
    metadata: Metadata

    @property
    def digest(self) -> Digest:
        return self.manifest.descriptor.digest


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


def read_bundle(store: Store, manifest: Descriptor | None = None) -> Bundle:
    """Look a bundle up; raises `NotFoundError`, and `IntegrityError` for what is no sound bundle.

    A tag is resolved once; everything after goes by digest.
    """
    from bundler.format import claims  # metadata is slow to load, and whoever lists bundles reads none
    from bundler.format.metadata import Metadata

    descriptor = manifest or store.resolve()
    artifact.check_media_type(descriptor, store.where)
    document.check_size(descriptor.size, f"{store.where}: the manifest")
    read = artifact.read(store.manifest(descriptor), store.where)
    document.check_size(read.config.size, f"{store.where}: the metadata")
    with store.open(read.config) as stream:
        metadata = Metadata.from_bytes(stream.read(), store.where)
    claims.check(read, metadata, store.where)
    return Bundle(read, metadata)


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


def list_bundles(store: Store, names: Sequence[Named] | None = None) -> list[tuple[str, Manifest]]:
    """Names in a store, by default all, with the manifests of their bundles; what is no bundle is passed over."""
    found = []
    for named in sorted(store.names() if names is None else names, key=lambda item: item.name):
        data = store.manifest(named.manifest)
        if artifact.is_bundle(data):
            found.append((named.name, artifact.read(data, store.where)))
    return found


def had(name: str, manifest: Manifest, store: Store | None = None) -> Had:
    """A bundle as something that is there already: with its blobs, or those of them that a ``store`` has undamaged."""
    blobs = manifest.blobs if store is None else [blob for blob in manifest.blobs if is_sound(store, blob)]
    return Had(name, manifest.descriptor.digest, frozenset(blob.digest for blob in blobs))


def is_sound(store: Store, blob: Descriptor) -> bool:
    """Whether a blob on a disk is there undamaged; what a registry has, that verifies itself.

    An archive does not remember what was verified of it, so there the blob is read.
    """
    if not store.rereadable:
        return True
    return _is_readable(store, blob) if store.ordered else store.has(blob)


def _is_readable(store: Store, blob: Descriptor) -> bool:
    try:
        with store.open(blob) as content:
            drain(content)
    except (IntegrityError, NotFoundError) as error:
        _log.warning("%s; it counts as missing", error.message)
        return False
    return True


def referrers(source: Store, bundle: Bundle) -> list[Referrer]:
    """All that refers to a bundle in a store; raises `IntegrityError` for what the store only says to do so."""
    return [_read_referrer(source, found, bundle) for found in source.referrers(bundle.manifest.descriptor)]


def _blobs(bundle: Bundle, referrers: Sequence[Referrer]) -> list[Descriptor]:
    """Each blob once, in the order in which it is carried."""
    return list(dict.fromkeys([*bundle.manifest.blobs, *(blob for referrer in referrers for blob in referrer.blobs)]))


def _largest_first(blobs: Sequence[Descriptor]) -> Sequence[Descriptor]:
    """So that where several travel at once none is left alone in the end; what comes nearby is verified in its own order."""
    return sorted(blobs, key=lambda blob: blob.size, reverse=True)


def _read_referrer(source: Store, descriptor: Descriptor, bundle: Bundle) -> Referrer:
    document.check_size(descriptor.size, f"{source.where}: the referrer {descriptor.digest}")
    referrer = artifact.read_referrer(source.manifest(descriptor), source.where)
    if referrer.subject != bundle.digest:
        raise IntegrityError(f"{source.where}: {descriptor.digest} refers to {referrer.subject}, not to this bundle")
    return referrer
