"""The one verb between stores: bring a bundle from any store to any other."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bundler import parallel
from bundler.errors import IntegrityError, StoreError
from bundler.format import artifact, document
from bundler.format.artifact import Manifest, Referrer
from bundler.format.content import Begun, Descriptor, Digest, Stream, VerifyingReader
from bundler.format.metadata import Metadata
from bundler.format.reference import image_tag
from bundler.format.signature import NewReferrer
from bundler.ports import Progress, Store, Upload


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
    """What a copy did; sizes are in bytes."""

    bundle: Bundle
    sent: int
    skipped: int


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
    descriptor = manifest or store.resolve()
    _check_is_manifest(descriptor, store.where)
    document.check_size(descriptor.size, f"{store.where}: the manifest")
    read = artifact.read(store.manifest(descriptor), store.where)
    document.check_size(read.config.size, f"{store.where}: the metadata")
    with store.open(read.config) as stream:
        metadata = Metadata.from_bytes(stream.read(), store.where)
    if len(metadata.layers) != len(read.layers):
        raise IntegrityError(
            f"{store.where}: the metadata describes {len(metadata.layers)} layers, the manifest {len(read.layers)}"
        )
    return Bundle(read, metadata)


def copy(source: Store, target: Store, progress: Progress, bundle: Bundle | None = None) -> CopyResult:
    """Copy a bundle and what refers to it, such as signatures.

    In the target it appears only when all of it is there, under the digest that it has in the source.
    """
    bundle = bundle or read_bundle(source)
    others = referrers(source, bundle)
    size = sum(blob.size for blob in _blobs(bundle, others))
    progress.stage(f"copying to {target.where}", size)
    with target.upload(image_tag(bundle.metadata.model.version), source) as upload:
        workers = 1 if target.ordered else max(source.parallel, target.parallel)
        missing = _carry(bundle, others, _Carrier(source, upload, progress, workers), upload)
        upload.commit(bundle.manifest.descriptor)
    return CopyResult(bundle, missing, size - missing)


def attach(store: Store, bundle: Bundle, new: NewReferrer, progress: Progress) -> None:
    """Let something new refer to a bundle, in the store that has it; what is there already stays as it is."""
    source = _Beside(store, new)
    others = [*referrers(store, bundle), new.referrer]
    with store.upload("") as upload:
        _carry(bundle, others, _Carrier(source, upload, progress, workers=1), upload)
        upload.attach(bundle.manifest.descriptor)


def _carry(bundle: Bundle, others: Sequence[Referrer], carrier: _Carrier, upload: Upload) -> int:
    """Bring a bundle and what refers to it into an upload; gives the bytes that were missing there."""
    carrier.find_missing(_blobs(bundle, others))
    upload.reserve(carrier.missing_size)
    carrier.carry(bundle.manifest.blobs)
    upload.add(bundle.manifest.descriptor, bundle.manifest.data)
    for other in others:
        carrier.carry(other.blobs)
        upload.add(other.descriptor, other.data)
    return carrier.missing_size


def plan(source: Store, target: Store, bundle: Bundle) -> Plan:
    """Look what a copy would have to send, and change nothing."""
    blobs = _blobs(bundle, referrers(source, bundle))
    there = [blob for blob in blobs if target.has(blob)]
    return Plan(bundle, there, [blob for blob in blobs if blob not in there])


class _Source(Protocol):
    """Where blobs are brought from."""

    rereadable: bool

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream: ...


class _Beside:
    """What a store has, and something new."""

    def __init__(self, store: Store, new: NewReferrer) -> None:
        self._store = store
        self._new = new
        self.rereadable = store.rereadable

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        if blob.digest not in self._new.contents:
            return self._store.open(blob, begun)
        content = io.BytesIO(self._new.contents[blob.digest][begun.size if begun else 0 :])
        return VerifyingReader(content, blob, self._store.where, begun)


class _Carrier:
    """Brings blobs from a store into an upload, several at once where both can."""

    def __init__(self, source: _Source, upload: Upload, progress: Progress, workers: int) -> None:
        self._source = source
        self._upload = upload
        self._progress = progress
        self._workers = workers
        self._stop = threading.Event()
        self._missing: dict[Digest, Descriptor] = {}
        self.missing_size = 0
        """Bytes that have to be brought."""

    def find_missing(self, blobs: Sequence[Descriptor]) -> None:
        """Ask the target which blobs it lacks."""
        self._each(self._look, {blob.digest: blob for blob in blobs}.values())
        self.missing_size = sum(blob.size for blob in self._missing.values())

    def carry(self, blobs: Sequence[Descriptor]) -> None:
        """Bring those that are missing."""
        missing = [self._missing.pop(blob.digest) for blob in blobs if blob.digest in self._missing]
        self._each(self._bring, missing)

    def _look(self, blob: Descriptor) -> None:
        if self._upload.has(blob):
            self._progress.advance(blob.size)
        else:
            self._missing[blob.digest] = blob

    def _bring(self, blob: Descriptor) -> None:
        opener = _Opener(self._source, blob, self._progress, self._stop)
        try:
            self._upload.put(blob, opener)
        except IntegrityError as error:
            if self._source.rereadable:
                raise
            self._progress.note(f"fetching it once more: {error.message}")
            self._upload.put(blob, opener)

    def _each(self, work: Callable[[Descriptor], None], blobs: Iterable[Descriptor]) -> None:
        parallel.each(work, blobs, self._workers, self._stop)


class _Opener:
    """Opens one blob of a store, as often as it is needed, and tells how far the last opening was read."""

    def __init__(self, source: _Source, blob: Descriptor, progress: Progress, stop: threading.Event) -> None:
        self._source = source
        self._blob = blob
        self._progress = progress
        self._stop = stop
        self._position = 0

    def __call__(self, begun: Begun | None = None) -> Stream:
        self.advance((begun.size if begun else 0) - self._position)
        return _Watched(self._source.open(self._blob, begun), self)

    def advance(self, count: int) -> None:
        if self._stop.is_set():
            raise StoreError("the copy was given up, because another part of it failed")
        self._position += count
        self._progress.advance(count)


def list_bundles(store: Store) -> list[tuple[str, Manifest]]:
    """The names in a store with the manifests of their bundles; what is no bundle is passed over."""
    found = []
    for named in sorted(store.names(), key=lambda item: item.name):
        data = store.manifest(named.manifest)
        if artifact.is_bundle(data):
            found.append((named.name, artifact.read(data, store.where)))
    return found


def watched(content: Stream, progress: Progress) -> Stream:
    """A stream that tells how far it was read."""
    return _Watched(content, progress)


class _Advancing(Protocol):
    def advance(self, count: int) -> None: ...


class _Watched(Stream):
    def __init__(self, content: Stream, progress: _Advancing) -> None:
        self._content = content
        self._progress = progress

    def read(self, size: int = -1, /) -> bytes:
        data = self._content.read(size)
        self._progress.advance(len(data))
        return data

    def close(self) -> None:
        self._content.close()


def referrers(source: Store, bundle: Bundle) -> list[Referrer]:
    """All that refers to a bundle in a store; raises `IntegrityError` for what the store only says to do so."""
    return [_read_referrer(source, found, bundle) for found in source.referrers(bundle.manifest.descriptor)]


def _blobs(bundle: Bundle, referrers: Sequence[Referrer]) -> list[Descriptor]:
    """Each blob once, in the order in which it is carried."""
    return list(dict.fromkeys([*bundle.manifest.blobs, *(blob for referrer in referrers for blob in referrer.blobs)]))


def _read_referrer(source: Store, descriptor: Descriptor, bundle: Bundle) -> Referrer:
    document.check_size(descriptor.size, f"{source.where}: the referrer {descriptor.digest}")
    referrer = artifact.read_referrer(source.manifest(descriptor), source.where)
    if referrer.subject != bundle.digest:
        raise IntegrityError(f"{source.where}: {descriptor.digest} refers to {referrer.subject}, not to this bundle")
    return referrer


def _check_is_manifest(descriptor: Descriptor, where: str) -> None:
    if descriptor.media_type != artifact.MANIFEST:
        raise IntegrityError(
            f"{where}: this is no bundle but {descriptor.media_type[:100]!r}", hint="Name a bundle that `fps-bundle push` made."
        )
