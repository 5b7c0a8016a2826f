"""The base class of stores that wrap another store."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from bundler.format.content import Descriptor
from bundler.format.signature import NewReferrer
from bundler.ports import Named, Store, Upload
from bundler.streams import Begun, Stream


class WrappedStore:
    """Delegates to ``inner``; a subclass overrides what differs."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.where = inner.where
        self.rereadable = inner.rereadable
        self.parallel = inner.parallel
        self.ordered = inner.ordered

    def resolve(self) -> Descriptor:
        return self.inner.resolve()

    def manifest(self, descriptor: Descriptor) -> bytes:
        return self.inner.manifest(descriptor)

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        return self.inner.open(blob, begun)

    def open_range(self, blob: Descriptor, offset: int, size: int) -> Stream:
        return self.inner.open_range(blob, offset, size)

    def has(self, blob: Descriptor) -> bool:
        return self.inner.has(blob)

    def referrers(self, manifest: Descriptor) -> Sequence[Descriptor]:
        return self.inner.referrers(manifest)

    def attach(self, new: NewReferrer) -> None:
        self.inner.attach(new)

    def names(self) -> Sequence[Named]:
        return self.inner.names()

    def upload(self, name: str, source: Store | None = None) -> AbstractContextManager[Upload]:
        return self.inner.upload(name, source)
