"""Verify: every layer of a bundle is read to its end before the bundle gets a name here, or an engine gets anything of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from bundler.bundle import Bundle
from bundler.errors import BundlerError, IntegrityError, StoreError
from bundler.format import layer_reader
from bundler.format.content import Descriptor
from bundler.format.faults import Fault
from bundler.format.layer_rules import LayerChecker
from bundler.format.reference import LocalReference, image_name
from bundler.format.tar import Entry
from bundler.ports import Displaced, Spool, Store, Upload
from bundler.streams import Begun, Opener, Progress, Stream, watched
from bundler.verbs import copy, damage
from bundler.verbs.copy import CopyResult

CHECKS = 2
"""Which checks these are; a higher number as soon as they refuse something that they let pass before."""

_FAREWELL = 2.0
"""Seconds for which a layer may be read on when the copy has failed or was interrupted."""


@dataclass(frozen=True)
class Findings:
    """What a sound bundle holds that an apply has to judge.

    ``privileged`` are the files with setuid, setgid or a capability. ``unkept`` is the number of entries that an engine would
    change without an error, and ``first_unkept`` says which the first is and why.
    """

    privileged: Sequence[Entry] = ()
    unkept: int = 0
    first_unkept: str = ""


def verify(bundle: Bundle, source: Store, progress: Progress) -> Findings:
    """Read every layer of a bundle to its end; raises `IntegrityError` for all damaged blobs, else for the first wrong layer."""
    progress.stage("verifying the bundle", sum(descriptor.size for descriptor in bundle.manifest.layers))
    with damage.named(source, progress, bundle.manifest.descriptor):
        return _read(bundle, source.where, lambda descriptor: watched(source.open(descriptor), progress))


def once(bundle: Bundle, store: Store, spool: Spool, progress: Progress) -> Findings:
    """Do as `verify` does, unless this host has done so before and nobody else can have touched the bundle since.

    What its blobs are is checked whenever they are read. A bundle with privileged files is always read, as they are asked for;
    one with entries that an engine would change is never noted as verified.
    """
    if not bundle.metadata.privileged and spool.is_verified(bundle.digest, store, CHECKS):
        return Findings()
    findings = verify(bundle, store, progress)
    note(bundle, findings, spool)
    return findings


def take_in(bundle: Bundle, source: Store, local: Store, spool: Spool, progress: Progress) -> CopyResult:
    """Copy a bundle from elsewhere into the local store, in which it gets its name only when it has been verified.

    Each layer is verified as soon as it is there, while the next ones are on their way. Of a bundle that is refused nothing
    stays, as far as no other process uses the store.
    """
    if spool.is_verified(bundle.digest, local, CHECKS):
        return copy.copy(source, local, progress, bundle)
    found: list[Findings] = []
    guarded = partial(_guarded, bundle, source.where, local, spool, progress, found)
    result = copy.copy(source, local, progress, bundle, guarded)
    for findings in found:
        note(bundle, findings, spool)
    return result


def note(bundle: Bundle, findings: Findings, spool: Spool) -> None:
    """Remember that a bundle was verified, unless an apply has to look at its entries again."""
    if not findings.unkept:
        spool.note_verified(bundle.digest, CHECKS)


@contextmanager
def readable_bundle(bundle: Bundle, source: Store, spool: Spool, progress: Progress) -> Iterator[Store]:
    """The bundle in a store that can be read twice: where it is, or in the local store for as long as it is needed.

    When the block fails, what was fetched stays there, and is not fetched again by the next run, unless it is what the
    block found wrong; what was there before stays, too.
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


def _read(bundle: Bundle, where: str, opened: Callable[[Descriptor], Stream]) -> Findings:
    checker = LayerChecker(bundle.metadata)
    for number, (descriptor, described) in enumerate(zip(bundle.manifest.layers, bundle.metadata.layers, strict=True)):
        checker.begin_layer(number)
        with opened(descriptor) as blob:
            layer_reader.verify(blob, descriptor, described, where, checker.check)
        _refuse(checker.end_layer(), where)
    _refuse(checker.finish(), where)
    return Findings(checker.privileged, checker.unkept, checker.first_unkept)


def _refuse(fault: Fault | None, where: str) -> None:
    if fault:
        raise IntegrityError(f"{where}: {fault.sentence}")


@contextmanager
def _guarded(
    bundle: Bundle, where: str, local: Store, spool: Spool, progress: Progress, found: list[Findings], upload: Upload
) -> Iterator[Upload]:
    """An upload into the local store that commits only what was verified, and ends as soon as a layer is refused.

    What was found goes into ``found`` when all of the bundle was read.
    """
    with _Follower(bundle, where, local, progress) as follower:
        guarded = _Guarded(upload, follower)
        try:
            yield guarded
        except BundlerError:
            if follower.failure is None:
                raise
            if isinstance(follower.failure, IntegrityError):
                spool.drop(guarded.named)
            raise follower.failure from None
        if follower.findings:
            found.append(follower.findings)


class _Follower:
    """Verifies layers in their order in the manifest, each as soon as it has come, in a thread of its own."""

    def __init__(self, bundle: Bundle, where: str, store: Store, progress: Progress) -> None:
        self._bundle = bundle
        self._where = where
        self._store = store
        self._progress = progress
        self._come = {descriptor.digest: threading.Event() for descriptor in bundle.manifest.layers}
        self._left = sum(descriptor.size for descriptor in bundle.manifest.layers)
        self._is_watched = self._is_given_up = False
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.failure: Exception | None = None
        """Why the bundle is refused, or cannot be verified."""
        self.findings: Findings | None = None
        """What was found when all of it was read."""

    def __enter__(self) -> _Follower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_given_up = True
        self._wake()
        self._thread.join(_FAREWELL)

    def come(self, blob: Descriptor) -> None:
        """A blob is in the store."""
        if blob.digest in self._come:
            self._come[blob.digest].set()

    def check(self) -> None:
        """Raises what was found wrong up to now."""
        if self.failure:
            raise self.failure

    def finish(self) -> None:
        """Wait for the last layer; raises what was found wrong."""
        self._progress.stage("verifying what came", self._left)
        self._is_watched = True
        self._wake()
        self._thread.join()
        self.check()

    def advance(self, count: int) -> None:
        """So many more bytes of a layer were read; they are told of when nothing is on its way any more."""
        if self._is_given_up:
            raise StoreError("the bundle was not verified to its end")
        self._left -= count
        if self._is_watched:
            self._progress.advance(count)

    def _follow(self) -> None:
        try:
            self.findings = _read(self._bundle, self._where, self._open)
        except Exception as error:
            if not self._is_given_up:
                self.failure = error

    def _open(self, descriptor: Descriptor) -> Stream:
        self._come[descriptor.digest].wait()
        self.advance(0)
        return watched(self._store.open(descriptor), self)

    def _wake(self) -> None:
        for come in self._come.values():
            come.set()


class _Guarded:
    """An upload whose blobs are looked at as soon as they are there."""

    def __init__(self, inner: Upload, follower: _Follower) -> None:
        self._inner = inner
        self._follower = follower
        self.named: list[Descriptor] = []
        """All that belongs to the bundle, here before or not."""

    @property
    def sent(self) -> int:
        return self._inner.sent

    def has(self, blob: Descriptor) -> bool:
        self.named.append(blob)
        is_here = self._inner.has(blob)
        if is_here:
            self._follower.come(blob)
        return is_here

    def reserve(self, size: int) -> None:
        self._inner.reserve(size)

    def put(self, blob: Descriptor, opened: Opener) -> None:
        def checked(begun: Begun | None = None) -> Stream:
            return _Checked(opened(begun), self._follower)

        try:
            self._inner.put(blob, checked)
        except BundlerError as error:
            if self._follower.failure:  # it is not this blob that is wrong, so to fetch it once more would not help
                raise StoreError("the copy was given up, because a layer was refused") from error
            raise
        self._follower.come(blob)

    def add(self, manifest: Descriptor, data: bytes) -> None:
        self.named.append(manifest)
        self._inner.add(manifest, data)

    def commit(self, manifest: Descriptor) -> Displaced | None:
        self._follower.finish()
        return self._inner.commit(manifest)


class _Checked(Stream):
    """The content of a blob, of which no more is read, and nothing kept, when something else of its bundle is refused."""

    def __init__(self, content: Stream, follower: _Follower) -> None:
        self._content = content
        self._follower = follower

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._content.read(size)
        finally:
            self._follower.check()

    def close(self) -> None:
        self._content.close()
