"""The files of a bundle archive in order (docs/spec/format.md, "Archive"), and the upload that collects them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bundler.format import tar
from bundler.format.content import Descriptor, Digest
from bundler.ports import Displaced, Named, Store
from bundler.stores.archive.multi_file import Volume, Volumes
from bundler.stores.layout import index
from bundler.streams import BLOCK, Opener, Stream, from_memory, skip


@dataclass(frozen=True)
class ArchiveFile:
    """One file of an archive to be written; ``last`` for the last one."""

    name: str
    size: int
    open: Opener
    last: bool = False

    @property
    def head(self) -> bytes:
        """Return the tar header."""
        entry = tar.Entry(path=f"/{self.name}", kind=tar.Kind.FILE, mode=0o644, uid=0, gid=0, mtime=0, size=self.size)
        return tar.encode(entry)

    @property
    def tail(self) -> bytes:
        """Return the padding, and after the last file the trailer."""
        return tar.padding(self.size) + (tar.TRAILER if self.last else b"")

    def blocks(self) -> Iterator[bytes]:
        """Yield all its bytes in the archive."""
        yield self.head
        with self.open() as content:
            while block := content.read(BLOCK):
                yield block
        yield self.tail


@dataclass(frozen=True)
class Written:
    """A written archive: its size in bytes, and the displaced bundle, if any."""

    size: int
    displaced: Displaced | None = None


class ArchiveUpload:
    """The upload of a bundle to an archive, which is written on commit.

    ``write`` gets the bundle's manifest and the files in order, and names the archive when it is complete. If it reads
    the files twice, ``source`` is the store to read from.
    """

    def __init__(
        self,
        write: Callable[[Descriptor, Sequence[ArchiveFile]], Written],
        reserve: Callable[[int], None],
        name: str,
        digest: Digest | None,
        where: str,
        source: Store | None = None,
    ) -> None:
        self._write = write
        self._reserve = reserve
        self._name = name
        self._digest = digest
        self._where = where
        self._source = source
        self._files = [file_from_memory(index.LAYOUT_FILE, index.LAYOUT_CONTENT)]
        self._added: set[Digest] = set()
        self._manifests: list[Descriptor] = []
        self._size = 0
        self.sent = 0

    def has(self, blob: Descriptor) -> bool:
        return blob.digest in self._added

    def reserve(self, size: int) -> None:
        self._reserve(size)

    def put(self, blob: Descriptor, opened: Opener) -> None:
        opened = partial(self._source.open, blob) if self._source else opened
        self._files.append(ArchiveFile(index.blob_path(blob.digest), blob.size, opened))
        self._added.add(blob.digest)
        self._size += blob.size

    def add(self, manifest: Descriptor, data: bytes) -> None:
        self._files.append(file_from_memory(index.blob_path(manifest.digest), data))
        self._manifests.append(manifest)

    def commit(self, manifest: Descriptor) -> Displaced | None:
        index.check_digest(manifest, self._digest, self._where)
        named = Named(self._name or f"bundle@{manifest.digest}", manifest)
        referrers = [Named("", other) for other in self._manifests if other.digest != manifest.digest]
        last = file_from_memory(index.INDEX_FILE, index.write([named, *referrers]), last=True)
        written = self._write(manifest, [*self._files, last])
        self.sent = min(written.size, self._size)  # without index and oci-layout, which are not blobs
        return written.displaced


def archive_blocks(files: Sequence[ArchiveFile]) -> Iterator[bytes]:
    """Yield the bytes of an archive in order."""
    for file in files:
        yield from file.blocks()


def file_from_memory(name: str, data: bytes, *, last: bool = False) -> ArchiveFile:
    """Return a file with content from memory."""
    return ArchiveFile(name, len(data), from_memory(data), last)


def as_volumes(files: Sequence[ArchiveFile]) -> Volumes:
    """Return an archive that is not written yet, readable from any offset."""
    pieces = []
    for file in files:
        pieces += [memory_volume(file.head), Volume(file.size, partial(_opened, file)), memory_volume(file.tail)]
    return Volumes(pieces)


def _opened(file: ArchiveFile, offset: int) -> Stream:
    content = file.open()
    skip(content, offset)
    return content


def memory_volume(data: bytes) -> Volume:
    """Return a piece with content from memory."""
    return Volume(len(data), lambda offset: io.BytesIO(data[offset:]))
