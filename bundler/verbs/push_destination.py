"""Where a push puts its bundle: under a name in the local store, or in another store by way of the local one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

from bundler.bundle import Bundle
from bundler.errors import BundlerError, UsageError
from bundler.format.content import Descriptor, Digest
from bundler.format.delta_manifest import DeltaManifest
from bundler.format.reference import LocalReference, image_name
from bundler.ports import Renamable, Spool, Store
from bundler.streams import Progress
from bundler.verbs import copy, early_upload
from bundler.verbs.copy import CopyResult
from bundler.verbs.early_upload import Sender

Seal = Callable[[Bundle, Store], None]
"""Signs a bundle in a store that has it."""


@dataclass(frozen=True)
class RemoteTarget:
    """A store other than the local one, to write to, and the same one to read, with its deltas as the bundles that they make.

    With ``place``, the part of the reference before the tag, only differences are sent.
    """

    store: Store
    readable: Store
    place: str = ""


class Destination(Protocol):
    """Where a push puts its bundle."""

    @property
    def where(self) -> str:
        """The destination as it was written."""
        ...

    @property
    def store(self) -> Store:
        """The store in which the bundle gets its name, to read."""
        ...

    @property
    def last(self) -> Bundle | None:
        """The bundle that was last pushed here, if that is recorded."""
        ...

    def rename(self, tag: str) -> None:
        """Use another tag for the bundle; raises `UsageError` where the destination has none."""
        ...

    def early_upload(self, blobs: Iterable[Descriptor]) -> AbstractContextManager[Sender | None]:
        """Send blobs for the length of the block, where that saves time."""
        ...

    def local_name(self, bundle: Bundle) -> LocalReference:
        """The name of a captured bundle in the local store."""
        ...

    def plan(self, bundle: Bundle, stored: Collection[Digest]) -> copy.Plan:
        """Find what `deliver` would send of a bundle that is packed; the local store had the blobs in ``stored`` before."""
        ...

    def deliver(self, bundle: Bundle, sender: Sender | None, seal: Seal | None, progress: Progress) -> CopyResult | None:
        """Sign a bundle in the local store, and copy it to the destination; None where it is there already.

        A failed copy leaves the bundle in the local store; its error tells how to resume.
        """
        ...


class LocalDestination:
    """A name in the local store, where the state is packed anyway."""

    def __init__(self, name: LocalReference, spool: Spool) -> None:
        self._name = name
        self._spool = spool

    @property
    def where(self) -> str:
        return str(self._name)

    @property
    def store(self) -> Store:
        return self._spool.open(self._name)

    @property
    def last(self) -> Bundle | None:
        return None

    def rename(self, tag: str) -> None:
        self._name = replace(self._name, tag=tag)

    def early_upload(self, blobs: Iterable[Descriptor]) -> AbstractContextManager[Sender | None]:
        del blobs
        return nullcontext()

    def local_name(self, bundle: Bundle) -> LocalReference:
        del bundle
        return self._name

    def plan(self, bundle: Bundle, stored: Collection[Digest]) -> copy.Plan:
        there = [blob for blob in bundle.manifest.blobs if blob.digest in stored]
        return copy.Plan(bundle, there, [blob for blob in bundle.manifest.blobs if blob not in there])

    def deliver(self, bundle: Bundle, sender: Sender | None, seal: Seal | None, progress: Progress) -> CopyResult | None:
        del sender, progress
        if seal:
            seal(bundle, self.store)
        return None


class RemoteDestination:
    """A store other than the local one; the bundle stays in the local store until the copy is complete."""

    def __init__(self, target: RemoteTarget, spool: Spool) -> None:
        self._store = target.store
        self._readable = target.readable
        self._spool = spool

    @property
    def where(self) -> str:
        return self._store.where

    @property
    def store(self) -> Store:
        return self._readable

    @property
    def last(self) -> Bundle | None:
        return None

    def rename(self, tag: str) -> None:
        if not isinstance(self._store, Renamable):
            raise UsageError(f"{self.where}: the tag of this destination cannot be chosen", hint="Push without a tag template.")
        self._store.rename(tag)

    def early_upload(self, blobs: Iterable[Descriptor]) -> AbstractContextManager[Sender | None]:
        return early_upload.sending(self._spool.open(LocalReference("")), self._store, blobs)

    def local_name(self, bundle: Bundle) -> LocalReference:
        return LocalReference(image_name(bundle.metadata.model.title), digest=bundle.digest)

    def plan(self, bundle: Bundle, stored: Collection[Digest]) -> copy.Plan:
        del stored
        local = self._spool.open(LocalReference(""))
        with self._delta(bundle, local) as delta:
            return copy.plan(local, self._store, bundle, delta)

    def deliver(self, bundle: Bundle, sender: Sender | None, seal: Seal | None, progress: Progress) -> CopyResult | None:
        name = self.local_name(bundle)
        local = self._spool.open(name)
        with _resume_told(f"fps-bundle copy {name} {self.where}", progress):
            if seal:
                seal(bundle, local)
            with self._delta(bundle, local) as delta:
                copied = copy.copy(local, self._store, progress, bundle, early=sender, delta=delta)
        self._delivered(bundle, delta)
        return copied

    def _delta(self, bundle: Bundle, local: Store) -> AbstractContextManager[DeltaManifest | None]:
        """Give the delta to send in place of a bundle of the local store, or None."""
        del bundle, local
        return nullcontext()

    def _delivered(self, bundle: Bundle, delta: DeltaManifest | None) -> None:
        """Remove a bundle that has arrived from the local store."""
        del delta
        self._spool.forget(self.local_name(bundle))


@contextmanager
def _resume_told(command: str, progress: Progress) -> Iterator[None]:
    """When the block fails, tell that the capture is kept and that ``command`` resumes the transfer."""
    resume = f"The captured state is kept. To resume without the model: {command}"
    try:
        yield
    except BundlerError as error:
        error.hint = f"{error.hint} {resume}".strip()
        raise
    except KeyboardInterrupt:
        progress.warn(resume)
        raise
