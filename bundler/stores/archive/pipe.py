"""An archive in a pipe: written to standard output, or read once and in order from standard input."""

from __future__ import annotations

import os
import select
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bundler.errors import IntegrityError, NotFoundError, UsageError, disk_errors, joined
from bundler.format import strict_json
from bundler.format.content import Descriptor, Digest, VerifyingReader
from bundler.format.reference import LocalReference
from bundler.format.signature import NewReferrer
from bundler.ports import Named, Store, Upload
from bundler.stores.archive import tar_index
from bundler.stores.archive.multi_file import Volumes, limited
from bundler.stores.archive.store import BundleArchive, refuse_attaching
from bundler.stores.archive.writer import ArchiveFile, ArchiveUpload, Written, archive_blocks
from bundler.stores.layout import index
from bundler.stores.layout.local import LocalSpool, LocalStore
from bundler.stores.wrapped_store import WrappedStore
from bundler.streams import Begun, Readable, Stream

_INPUT, _OUTPUT = "standard input", "standard output"
_CUT_OFF = (
    "The archive in the pipe is incomplete: send it again. "
    "Copy into the local store first; a copy to a store fetches damaged content once more."
)


class PipeStore(BundleArchive):
    """The write end of a pipe, as the target for one bundle."""

    def __init__(self, descriptor: int, name: str = "", digest: Digest | None = None) -> None:
        super().__init__(_OUTPUT, _nothing_to_read, name, digest)
        self._descriptor = descriptor

    @contextmanager
    def upload(self, name: str, source: Store | None = None) -> Iterator[ArchiveUpload]:
        if os.isatty(self._descriptor):
            raise UsageError("refusing to write an archive to a terminal", hint="Use a pipe: fps-bundle copy BUNDLE - | …")
        try:
            yield ArchiveUpload(self._write, lambda _: None, self._name or name, self._digest, self.where)
        except IntegrityError as error:
            if source is not None and not source.rereadable:
                error.hint = _CUT_OFF
            raise

    def _write(self, manifest: Descriptor, files: Sequence[ArchiveFile]) -> Written:
        del manifest
        for block in archive_blocks(files):
            with disk_errors(self.where):
                _write_all(self._descriptor, block)
        return Written(sum(file.size for file in files))


@contextmanager
def received(stream: Readable, name: str = "", digest: Digest | None = None) -> Iterator[Received]:
    """Receive the bundles of an archive from a pipe; its blobs are kept in the local store for the block.

    After the block the received blobs that no bundle of the local store needs are deleted. Raises `IntegrityError` for a
    damaged or truncated archive.
    """
    local = LocalStore(LocalReference(""))
    received_blobs: list[Descriptor] = []
    try:
        with local.upload("") as upload:
            yield Received(local, _take(stream, upload, received_blobs), name, digest)
    finally:
        if received_blobs:
            LocalSpool().drop(received_blobs)


class Received(WrappedStore):
    """The local store as far as its blobs go, and the index that came through the pipe."""

    def __init__(self, local: LocalStore, data: bytes, name: str, digest: Digest | None) -> None:
        super().__init__(local)
        self.where = _INPUT
        self._local = local
        self._index = data
        self._name = name
        self._digest = digest

    def resolve(self) -> Descriptor:
        return index.find(self._index, self._name, self._digest, self.where)

    def names(self) -> Sequence[Named]:
        return index.read(self._index, self.where)

    def referrers(self, manifest: Descriptor) -> Sequence[Descriptor]:
        return index.referrers(self.names(), manifest, self.manifest, self.where)

    def attach(self, new: NewReferrer) -> None:
        refuse_attaching(new, self.where)

    def has(self, blob: Descriptor) -> bool:
        return self._local.has(blob)

    def holds(self, blob: Descriptor) -> bool:
        """Whether a blob is there; it is verified when it is read."""
        return self._local.holds(blob)

    def manifest(self, descriptor: Descriptor) -> bytes:
        strict_json.check_size(descriptor.size, f"{self.where}: the manifest")
        with self.open(descriptor) as stream:
            return stream.read()

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        self._check_has(blob)
        return self.inner.open(blob, begun)

    def open_range(self, blob: Descriptor, offset: int, size: int) -> Stream:
        self._check_has(blob)
        return self.inner.open_range(blob, offset, size)

    def _check_has(self, blob: Descriptor) -> None:
        if not self._local.holds(blob):
            raise IntegrityError(f"{self.where}: the blob {blob.digest} is missing from the archive")


def _take(stream: Readable, upload: Upload, received_blobs: list[Descriptor]) -> bytes:
    """Read an archive to its end; returns its index. New blobs go into the store, and are listed in ``received_blobs``."""
    data: bytes | None = None
    damaged: list[IntegrityError] = []
    with disk_errors(_INPUT), _archive_errors():
        for info, content in tar_index.walk(stream):
            if tar_index.plain_name(info) == index.INDEX_FILE:
                data = limited(content, strict_json.MAX_SIZE + 1).read()
            elif tar_index.plain_name(info) == index.LAYOUT_FILE:
                index.check_layout(limited(content, strict_json.MAX_SIZE + 1).read(), _INPUT)
            elif blob := index.blob(tar_index.plain_name(info), info.size):
                try:
                    _take_blob(blob, content, upload, received_blobs)
                except IntegrityError as error:
                    damaged.append(error)  # continue, to name all damaged blobs
    if damaged:
        raise IntegrityError(joined(_INPUT, damaged), hint=damaged[0].hint)
    if data is None:
        raise IntegrityError(f"{_INPUT}: {index.INDEX_FILE} is missing from the archive", hint="Send a complete bundle archive.")
    index.read(data, _INPUT)
    return data


def _take_blob(blob: Descriptor, content: Stream, upload: Upload, received_blobs: list[Descriptor]) -> None:
    if upload.has(blob):
        return

    def opened(begun: Begun | None = None) -> Stream:
        assert begun is None, "a pipe cannot be read again"
        return VerifyingReader(content, blob, _INPUT)

    upload.put(blob, opened)
    received_blobs.append(blob)


@contextmanager
def _archive_errors() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise IntegrityError(
            f"{_INPUT} is not a readable tar archive: {error}", hint="It was damaged or truncated in transit: send it again."
        ) from error


def _nothing_to_read() -> Volumes:
    raise NotFoundError(f"{_OUTPUT} cannot be read")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # a full pipe in non-blocking mode
            select.select([], [descriptor], [])
