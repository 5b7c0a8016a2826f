"""Archives and layouts without the layers that the other side has (docs/spec/format.md, "Thin archive")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from bundler.errors import NotFoundError
from bundler.format import thin_list
from bundler.format.artifact import LAYER
from bundler.format.content import Descriptor
from bundler.format.thin_list import Had
from bundler.ports import Displaced, Store, Upload
from bundler.stores.layout.local import LocalStore
from bundler.stores.wrapped_store import WrappedStore
from bundler.streams import Begun, Opener, Stream


class ThinStore(WrappedStore):
    """A target for bundles that skips the layers in ``had``."""

    def __init__(self, inner: Store, had: Sequence[Had]) -> None:
        super().__init__(inner)
        self._had = had

    def has(self, blob: Descriptor) -> bool:
        return self.inner.has(blob) or _find(self._had, blob) is not None

    @contextmanager
    def upload(self, name: str, source: Store | None = None) -> Iterator[Upload]:
        with self.inner.upload(name, source) as upload:
            yield _ThinUpload(upload, self._had)


class _ThinUpload:
    def __init__(self, inner: Upload, had: Sequence[Had]) -> None:
        self._inner = inner
        self._had = had
        self._needed: dict[Had, None] = {}

    @property
    def sent(self) -> int:
        return self._inner.sent

    def has(self, blob: Descriptor) -> bool:
        if self._inner.has(blob):
            return True
        found = _find(self._had, blob)
        if found:
            self._needed[found] = None
        return found is not None

    def reserve(self, size: int) -> None:
        self._inner.reserve(size)

    def put(self, blob: Descriptor, opened: Opener) -> None:
        self._inner.put(blob, opened)

    def add(self, manifest: Descriptor, data: bytes) -> None:
        self._inner.add(manifest, data)

    def commit(self, manifest: Descriptor) -> Displaced | None:
        annotations = {thin_list.NEEDS: thin_list.annotation(list(self._needed))} if self._needed else {}
        return self._inner.commit(replace(manifest, annotations={**manifest.annotations, **annotations}))


class WholeStore(WrappedStore):
    """A store with a possibly thin bundle; omitted layers are read from the local store.

    ``holds`` returns whether a blob is in the store itself.
    """

    def __init__(self, inner: Store, holds: Callable[[Descriptor], bool], local: Callable[[], LocalStore]) -> None:
        super().__init__(inner)
        self._holds = holds
        self._local = local

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        return self._underlying_store(blob).open(blob, begun)

    def open_range(self, blob: Descriptor, offset: int, size: int) -> Stream:
        return self._underlying_store(blob).open_range(blob, offset, size)

    def _underlying_store(self, blob: Descriptor) -> Store:
        """Return the store that has a blob."""
        needed = [] if self._holds(blob) else self._needed()
        if not needed:
            return self.inner
        local = self._local()
        if local.holds(blob):
            return local
        raise NotFoundError(
            f"{self.where} omits layers of {' or '.join(map(str, needed))}, which is not in the local store",
            hint="Copy that bundle into the local store first, or make this one without --have.",
        )

    def _needed(self) -> list[Had]:
        texts = [named.manifest.annotations.get(thin_list.NEEDS, "") for named in self.inner.names()]
        return [it for text in texts for it in thin_list.needed(text)]


def _find(had: Sequence[Had], blob: Descriptor) -> Had | None:
    """Return a bundle of the other side with this layer; metadata and signatures are small and always sent."""
    return next((it for it in had if blob.media_type == LAYER and blob.digest in it.blobs), None)
