"""Verify: read every layer of a bundle to its end, before the bundle is named in the local store or passed to an engine."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from bundler.bundle import Bundle
from bundler.errors import BundlerError, IntegrityError, OtherCompressionError, StoreError
from bundler.format import layer_reader, table_reader
from bundler.format.content import Descriptor, Digest
from bundler.format.faults import Fault
from bundler.format.layer_rules import LayerChecker
from bundler.format.reference import LocalReference, image_name
from bundler.format.tar import Entry
from bundler.format.toc import Item, Table
from bundler.ports import Displaced, Recompressing, Spool, Store, Upload
from bundler.streams import Begun, Opener, Progress, Stream, watched
from bundler.verbs import copy, damage
from bundler.verbs.copy import CopyResult

CHECKS = 2
"""Version of the checks; incremented whenever they refuse something that they accepted before."""

_JOIN_TIMEOUT = 2.0
"""Seconds to wait for the verifying thread when the copy has failed or was interrupted."""


@dataclass(frozen=True)
class Findings:
    """Entries of a valid bundle that an apply has to decide about.

    ``privileged`` are the files with setuid, setgid or a capability. ``unkept`` is the number of entries that an engine would
    change without an error, and ``first_unkept`` names the first one and the reason.
    """

    privileged: Sequence[Entry] = ()
    unkept: int = 0
    first_unkept: str = ""


def verify(bundle: Bundle, source: Store, progress: Progress) -> Findings:
    """Read every layer of a bundle to its end; raises `IntegrityError` naming all damaged blobs, else the first invalid layer."""
    progress.stage("verifying the bundle", sum(descriptor.size for descriptor in bundle.manifest.layers))
    with damage.named(source, progress, bundle.manifest.descriptor):
        return _read(bundle, source.where, lambda descriptor: watched(source.open(descriptor), progress), lambda _: None)


def once(bundle: Bundle, store: Store, spool: Spool, progress: Progress) -> Findings:
    """Verify a bundle, unless this host has verified it before and no other user can have changed it since.

    Blobs are checked by digest on every read in any case. A bundle with privileged files is always read, as an apply lists
    them; one with entries that an engine would change is never recorded as verified.
    """
    if not bundle.metadata.privileged and spool.is_verified(bundle.digest, store, CHECKS):
        return Findings()
    findings = verify(bundle, store, progress)
    note(bundle, findings, spool)
    return findings


def take_in(bundle: Bundle, source: Store, local: Store, spool: Spool, progress: Progress) -> CopyResult:
    """Copy a bundle into the local store, where it gets its name only after it has been verified.

    Each layer is verified as soon as it has arrived, while the next ones are copied, and the copy ends as soon as a layer is
    refused. The blobs of a refused bundle are deleted, unless another process uses the store.
    """
    if spool.is_verified(bundle.digest, local, CHECKS):
        return copy.copy(source, local, progress, bundle)
    with LayerQueue(bundle, source, local, progress) as layers:
        try:
            result = copy.copy(source, local, progress, bundle, lambda upload: _VerifiedUpload(upload, layers))
        except BundlerError:
            if layers.failure is None:
                raise
            if isinstance(layers.failure, IntegrityError):
                spool.drop(layers.contents)
            raise layers.failure from None
        note(bundle, layers.findings, spool)
    return result


def note(bundle: Bundle, findings: Findings, spool: Spool) -> None:
    """Record that a bundle was verified, unless an apply has to examine its entries again."""
    if not findings.unkept:
        spool.note_verified(bundle.digest, CHECKS)


@contextmanager
def readable_bundle(bundle: Bundle, source: Store, spool: Spool, progress: Progress) -> Iterator[Store]:
    """Yield a store where the bundle can be read twice: its own, or the local store for the length of the block.

    When the block fails, the fetched blobs stay for the next run, unless the block refuses the bundle. A bundle that
    the local store had before stays in any case.
    """
    if source.rereadable:
        yield source
        return
    fetched = LocalReference(image_name(bundle.metadata.model.title), digest=bundle.digest)
    local = spool.open(fetched)
    was_here = str(fetched) in {named.name for named in local.names()}
    take_in(bundle, source, local, spool, progress)
    try:
        yield local
    except IntegrityError:
        if not was_here:
            spool.forget(fetched)
        raise
    if not was_here:
        spool.forget(fetched)


@contextmanager
def readable_layers(bundle: Bundle, source: Store, spool: Spool, progress: Progress) -> Iterator[tuple[Bundle, Store]]:
    """Do as `readable_bundle`, and give the bundle whose layers are there.

    It has other blobs than the bundle where this version of libzstd cannot make those again; their content is the same.
    """
    with ExitStack() as opened:
        try:
            local = opened.enter_context(readable_bundle(bundle, source, spool, progress))
        except OtherCompressionError as error:
            if not isinstance(source, Recompressing):
                raise
            spool.drop(bundle.manifest.blobs)
            progress.note(f"{error.message}: using it by its diff ID")
            made: list[Descriptor] = []
            opened.callback(spool.drop, made)
            made.extend(source.recompressed(bundle.manifest.descriptor, spool.new_blob))
            bundle = Bundle(replace(bundle.manifest, layers=tuple(made)), bundle.metadata)
            local = spool.open(LocalReference(""))
        yield bundle, local


def _read(
    bundle: Bundle, where: str, opened: Callable[[Descriptor], Stream], listed: Callable[[Descriptor], Iterable[Item] | None]
) -> Findings:
    """Verify all layers; of a layer with ``listed`` items only these are checked, as its content is known to be right."""
    checker = LayerChecker(bundle.metadata)
    for number, (descriptor, described) in enumerate(zip(bundle.manifest.layers, bundle.metadata.layers, strict=True)):
        checker.begin_layer(number)
        with opened(descriptor) as blob:
            if (items := listed(descriptor)) is None:
                layer_reader.verify(blob, descriptor, described, where, checker.check)
            else:
                for item in items:
                    _refuse(checker.check(item.entry), f"{where}: the layer {described.diff_id}")
        _refuse(checker.end_layer(), where)
    _refuse(checker.finish(), where)
    return Findings(checker.privileged, checker.unkept, checker.first_unkept)


def _refuse(fault: Fault | None, where: str) -> None:
    if fault:
        raise IntegrityError(f"{where}: {fault.sentence}")


class LayerQueue:
    """Layers of a bundle that have arrived in a store; one thread verifies them in the order of the manifest.

    The thread runs for the length of the block. When the block ends early, it stops at the next read.
    """

    def __init__(self, bundle: Bundle, source: Store, store: Store, progress: Progress) -> None:
        self._bundle = bundle
        self._source = source
        self._store = store
        self._progress = progress
        self._queue: queue.SimpleQueue[Digest | None] = queue.SimpleQueue()
        self._outcome: Future[Findings] = Future()
        self._unread = sum(descriptor.size for descriptor in bundle.manifest.layers)
        self._reports_progress = self._is_closed = False
        self._thread = threading.Thread(target=self._verify, daemon=True)
        self.contents: list[Descriptor] = []
        """All blobs and manifests of the bundle and its referrers, whether they were in the store before or not."""

    def __enter__(self) -> LayerQueue:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        self._queue.put(None)
        self._thread.join(_JOIN_TIMEOUT)

    def expect(self, descriptor: Descriptor) -> None:
        """Record a blob or manifest that belongs to the bundle."""
        self.contents.append(descriptor)

    def arrived(self, blob: Descriptor) -> None:
        """Queue a blob that is in the store."""
        self._queue.put(blob.digest)

    @property
    def failure(self) -> BaseException | None:
        """Why the bundle is refused, or cannot be verified; None as long as no fault was found."""
        return self._outcome.exception() if self._outcome.done() else None

    def check(self) -> None:
        """Raise the fault that was found, if any."""
        if failure := self.failure:
            raise failure

    def finish(self) -> Findings:
        """Wait for the verification of the last layer; raises the fault that was found, if any."""
        self._progress.stage("verifying the copied layers", self._unread)
        self._reports_progress = True
        self._queue.put(None)
        return self.findings

    @property
    def findings(self) -> Findings:
        """The result of the verification; waits for its end."""
        return self._outcome.result()

    def advance(self, count: int) -> None:
        """Count verified bytes; they are reported only when the copy no longer reports its own."""
        if self._is_closed:
            raise StoreError("the bundle was not verified to its end")
        self._unread -= count
        if self._reports_progress:
            self._progress.advance(count)

    def _verify(self) -> None:
        arrived: set[Digest] = set()
        is_complete = False

        def opened(descriptor: Descriptor) -> Stream:
            nonlocal is_complete
            while not is_complete and descriptor.digest not in arrived:
                digest = self._queue.get()
                is_complete = digest is None
                arrived.update([digest] if digest else [])
            self.advance(0)
            return watched(self._store.open(descriptor), self)

        try:
            self._outcome.set_result(_read(self._bundle, self._source.where, opened, self._listed))
        except BaseException as error:
            self._outcome.set_exception(error)

    def _listed(self, blob: Descriptor) -> Iterator[Item] | None:
        """Return the items of a layer that the source has made and checked itself; None for another layer."""
        table = Table.of(blob)
        if table and isinstance(self._source, Recompressing) and self._source.has_made(blob):
            return table_reader.items(blob, table, self._store.open_range, self._source.where)
        return None


class _VerifiedUpload:
    """An upload that queues each blob for verification, and commits only a verified bundle."""

    def __init__(self, inner: Upload, layers: LayerQueue) -> None:
        self._inner = inner
        self._layers = layers

    @property
    def sent(self) -> int:
        return self._inner.sent

    def has(self, blob: Descriptor) -> bool:
        self._layers.expect(blob)
        is_here = self._inner.has(blob)
        if is_here:
            self._layers.arrived(blob)
        return is_here

    def reserve(self, size: int) -> None:
        self._inner.reserve(size)

    def put(self, blob: Descriptor, opened: Opener) -> None:
        def refusable(begun: Begun | None = None) -> Stream:
            return _RefusableStream(opened(begun), self._layers)

        try:
            self._inner.put(blob, refusable)
        except BundlerError as error:
            if self._layers.failure:  # another blob is at fault, so fetching this one again would not help
                raise StoreError("copy stopped: a layer was refused") from error
            raise
        self._layers.arrived(blob)

    def add(self, manifest: Descriptor, data: bytes) -> None:
        self._layers.expect(manifest)
        self._inner.add(manifest, data)

    def commit(self, manifest: Descriptor) -> Displaced | None:
        self._layers.finish()
        return self._inner.commit(manifest)


class _RefusableStream(Stream):
    """The content of a blob; its reads fail as soon as a layer is refused, so that the store keeps no part of it."""

    def __init__(self, content: Stream, layers: LayerQueue) -> None:
        self._content = content
        self._layers = layers

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._content.read(size)
        finally:
            self._layers.check()

    def close(self) -> None:
        self._content.close()
