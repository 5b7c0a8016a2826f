"""An archive whose parts are the layers of one artifact, for unstable links (docs/spec/format.md, "Split artifact").

A part that has arrived is never sent again, so a broken connection costs at most one part.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from io import BytesIO

from bundler.concurrency import parallel
from bundler.errors import BundlerError, IntegrityError, NotFoundError
from bundler.format import artifact, split_manifest, units
from bundler.format.content import Descriptor, Digest, VerifyingReader
from bundler.format.part_list import cuts
from bundler.format.signature import NewReferrer
from bundler.format.split_manifest import EMPTY, EMPTY_CONTENT, PART
from bundler.ports import Named, Store, Upload
from bundler.stores.archive import multi_file
from bundler.stores.archive.multi_file import Volume, Volumes
from bundler.stores.archive.store import BundleArchive
from bundler.stores.archive.writer import ArchiveFile, ArchiveUpload, Written, as_volumes, memory_volume
from bundler.stores.wrapped_store import WrappedStore
from bundler.streams import BLOCK, Begun, Progress, Stream, WatchedOpener, drain, skip


class SplitStore(WrappedStore):
    """A store whose names may refer to split archives; other bundles are read unchanged."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._stores_by_digest: dict[Digest, Store] = {}
        self._underlying: Store | None = None
        self._read: tuple[Descriptor, bytes] | None = None

    def underlying_store(self) -> Store:
        """Return the store that has the bundle: the split archive, or the inner store."""
        if self._underlying is None:
            try:
                self.resolve()
            except NotFoundError:
                return self.inner
        return self._underlying or self.inner

    def resolve(self) -> Descriptor:
        found = self.inner.resolve()
        archive = self._archive(found)
        self._underlying = archive or self.inner
        return archive.resolve() if archive else found

    def manifest(self, descriptor: Descriptor) -> bytes:
        if self._read and self._read[0].digest == descriptor.digest:
            return self._read[1]
        return self._stores_by_digest.get(descriptor.digest, self.underlying_store()).manifest(descriptor)

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        return self.underlying_store().open(blob, begun)

    def open_range(self, blob: Descriptor, offset: int, size: int) -> Stream:
        return self.underlying_store().open_range(blob, offset, size)

    def referrers(self, manifest: Descriptor) -> Sequence[Descriptor]:
        return self.underlying_store().referrers(manifest)

    def attach(self, new: NewReferrer) -> None:
        self.underlying_store().attach(new)

    def names(self) -> Sequence[Named]:
        return [self._named(named) for named in self.inner.names()]

    def _named(self, named: Named) -> Named:
        archive = self._archive(named.manifest)
        if archive is None:
            self._stores_by_digest[named.manifest.digest] = self.inner
            return named
        bundle = archive.resolve()
        self._stores_by_digest[bundle.digest] = archive
        return Named(named.name, bundle)

    def _archive(self, manifest: Descriptor) -> Store | None:
        """Return the archive whose parts a manifest lists, if it is a split manifest."""
        if manifest.media_type != artifact.MANIFEST:
            return None
        data = self.inner.manifest(manifest)
        self._read = manifest, data
        if not split_manifest.is_split(data):
            return None
        return _SplitArchive(self.inner, split_manifest.read(data, self.where), split_manifest.bundle(data, self.where))


class _SplitArchive(BundleArchive):
    """An archive whose parts are blobs of a store; uploads go to that store."""

    def __init__(self, store: Store, parts: Sequence[Descriptor], bundle: Digest) -> None:
        super().__init__(store.where, lambda: _BlobVolumes(store, parts, self._open))
        self._bundle = bundle
        self._store = store
        self.rereadable = store.rereadable
        self.parallel = store.parallel

    def names(self) -> Sequence[Named]:
        found = super().names()
        if all(named.manifest.digest != self._bundle for named in found):
            raise IntegrityError(
                f"{self.where}: the parts are of another archive than the manifest lists, without the bundle {self._bundle}"
            )
        return found

    def upload(self, name: str, source: Store | None = None) -> AbstractContextManager[Upload]:
        return self._store.upload(name, source)

    def _open(self, part: Descriptor, offset: int) -> Stream:
        return self._store.open_range(part, offset, part.size - offset) if offset else self._store.open(part)


class _BlobVolumes(Volumes):
    """The parts of an archive in a store; after an error all parts are read, to name the damaged ones."""

    def __init__(self, store: Store, parts: Sequence[Descriptor], opened: Callable[[Descriptor, int], Stream]) -> None:
        super().__init__([Volume(part.size, partial(opened, part)) for part in parts])
        self._store = store
        self._parts = parts

    def explain(self, error: BundlerError) -> BundlerError:
        if not isinstance(error, IntegrityError | NotFoundError):
            return error
        return self._damage or error

    @cached_property
    def _damage(self) -> IntegrityError | None:
        damaged = [str(part.digest) for part in self._parts if not self._is_sound(part)]
        if not damaged:
            return None
        return IntegrityError(
            f"{self._store.where}: damaged or missing parts of the archive: {', '.join(damaged)}",
            hint="Copy the bundle to another repository, or repair the storage of the registry.",
        )

    def _is_sound(self, part: Descriptor) -> bool:
        try:
            with self._store.open(part) as content:
                drain(content)
        except (IntegrityError, NotFoundError):
            return False
        return True


class SplitTarget(SplitStore):
    """A store as the target for one split archive, in parts of at most ``part_size`` bytes."""

    def __init__(self, inner: Store, part_size: int, progress: Progress) -> None:
        super().__init__(inner)
        self.ordered = True  # the files of an archive have an order
        self._part_size = part_size
        self._progress = progress

    def has(self, blob: Descriptor) -> bool:
        """Return False: the store has parts, which are known only when everything has been read."""
        del blob
        return False

    @contextmanager
    def upload(self, name: str, source: Store | None = None) -> Iterator[ArchiveUpload]:
        with self.inner.upload(name) as upload:
            yield ArchiveUpload(partial(self._write, upload), upload.reserve, name, None, self.where, source)

    def _write(self, upload: Upload, bundle: Descriptor, files: Sequence[ArchiveFile]) -> Written:
        sizes = [as_volumes([file]).size for file in files]
        part_size = split_manifest.part_size(self._part_size, sizes)
        if part_size > self._part_size:
            self._progress.note(f"using parts of {part_size} bytes, not {self._part_size}: the manifest would be too long")
        self._progress.stage(f"reading the archive for {self.where}", sum(sizes))
        parts = [part for file in files for part in _cut(file, part_size, self._progress)]
        _PartSender(upload, self.where, self._progress, self.inner.parallel).send(parts)
        data = split_manifest.build(bundle.digest, [part.descriptor for part in parts])
        manifest = Descriptor.of(artifact.MANIFEST, data)
        upload.add(manifest, data)
        displaced = upload.commit(manifest)
        return Written(upload.sent, displaced)


@dataclass(frozen=True)
class _FilePart:
    """A part of one file of the archive: its offset, and the file's content before it."""

    descriptor: Descriptor
    file: ArchiveFile
    start: int
    begun: Begun

    def open(self) -> Stream:
        """Open the part, without reading the content before it again."""
        head, tail = self.file.head, self.file.tail
        content = Volume(self.file.size, lambda _: self.file.open(self.begun if self.begun.size else None))
        pieces = Volumes([memory_volume(head), content, memory_volume(tail)])
        return multi_file.limited(pieces.open(self.start), self.descriptor.size)


class _PartSender:
    """Puts parts into an upload, several in parallel."""

    def __init__(self, upload: Upload, where: str, progress: Progress, workers: int) -> None:
        self._upload = upload
        self._where = where
        self._progress = progress
        self._workers = workers
        self._stop = threading.Event()
        self._missing: dict[Digest, _FilePart] = {}

    def send(self, parts: Sequence[_FilePart]) -> None:
        """Send the parts that are missing there."""
        distinct = {part.descriptor.digest: part for part in parts}
        self._progress.stage(f"checking which of {units.counted(len(distinct), 'part')} {self._where} has")
        parallel.each(self._check, distinct.values(), self._workers, self._stop)
        missing = [part for digest, part in distinct.items() if digest in self._missing]
        size = sum(part.descriptor.size for part in missing)
        self._progress.stage(f"sending {len(missing)} of {units.counted(len(distinct), 'part')} to {self._where}", size)
        if not self._upload.has(EMPTY):
            self._upload.put(EMPTY, lambda begun=None: BytesIO(EMPTY_CONTENT[begun.size if begun else 0 :]))
        parallel.each(self._put, missing, self._workers, self._stop)

    def _check(self, part: _FilePart) -> None:
        if not self._upload.has(part.descriptor):
            self._missing[part.descriptor.digest] = part

    def _put(self, part: _FilePart) -> None:
        self._upload.put(part.descriptor, WatchedOpener(partial(self._open, part), self._progress, self._stop))

    def _open(self, part: _FilePart, begun: Begun | None = None) -> Stream:
        content = VerifyingReader(part.open(), part.descriptor, self._where)
        skip(content, begun.size if begun else 0)
        return content


def _cut(file: ArchiveFile, part_size: int, progress: Progress) -> Iterator[_FilePart]:
    """Read a file of the archive once and yield its parts."""
    archive = as_volumes([file])
    begins, ends = len(file.head), len(file.head) + file.size
    begun, offset = Begun(), 0
    with archive.open(0) as content:
        for start in cuts(archive.size, part_size):
            before, part = begun.copy(), hashlib.sha256()
            stretch = multi_file.limited(content, part_size)
            while block := stretch.read(BLOCK):
                part.update(block)
                begun.add(block[max(0, begins - offset) : max(0, ends - offset)])
                offset += len(block)
                progress.advance(len(block))
            yield _FilePart(Descriptor(PART, Digest(part.hexdigest()), offset - start), file, start, before)
