"""How a bundle becomes an archive (docs/spec/format.md, "Archive"): its files in their order, written by whoever knows where."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bundler.format import tar
from bundler.format.content import Descriptor, Digest
from bundler.ports import Displaced, Named, Store
from bundler.stores.archive.multi_file import Volume, Volumes, skip
from bundler.stores.layout import index
from bundler.streams import BLOCK, Opener, Stream, from_memory


@dataclass(frozen=True)
class File:
    """One file of an archive that is to be written; ``last`` when the archive ends with it."""

    name: str
    size: int
    open: Opener
    last: bool = False

    @property
    def head(self) -> bytes:
        """What stands before the content."""
        entry = tar.Entry(path=f"/{self.name}", kind=tar.Kind.FILE, mode=0o644, uid=0, gid=0, mtime=0, size=self.size)
        return tar.encode(entry)

    @property
    def tail(self) -> bytes:
        """What follows the content."""
        return tar.padding(self.size) + (tar.TRAILER if self.last else b"")

    def blocks(self) -> Iterator[bytes]:
        """All its bytes in the archive."""
        yield self.head
        with self.open() as content:
            while block := content.read(BLOCK):
                yield block
        yield self.tail


@dataclass(frozen=True)
class Written:
    """An archive that was written: its bytes, of which some may have been there, and the bundle whose name it took."""

    size: int
    displaced: Displaced | None = None


class ArchiveUpload:
    """A bundle on its way into an archive, which is written when all that goes into it is known.

    ``write`` is given the bundle's manifest and the files, in their order, and gives the archive its name when it
    is whole. Where it reads them twice, ``source`` is the store that they are read from.
    """

    def __init__(
        self,
        write: Callable[[Descriptor, Sequence[File]], Written],
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
        self._files = [small(index.LAYOUT_FILE, index.LAYOUT_CONTENT)]
        self._known: set[Digest] = set()
        self._manifests: list[Descriptor] = []
        self._size = 0
        self.sent = 0

    def has(self, blob: Descriptor) -> bool:
        return blob.digest in self._known

    def reserve(self, size: int) -> None:
        self._reserve(size)

    def put(self, blob: Descriptor, opened: Opener) -> None:
        opened = partial(self._source.open, blob) if self._source else opened
        self._files.append(File(index.blob_path(blob.digest), blob.size, opened))
        self._known.add(blob.digest)
        self._size += blob.size

    def add(self, manifest: Descriptor, data: bytes) -> None:
        self._files.append(small(index.blob_path(manifest.digest), data))
        self._manifests.append(manifest)

    def commit(self, manifest: Descriptor) -> Displaced | None:
        index.check_digest(manifest, self._digest, self._where)
        named = Named(self._name or f"bundle@{manifest.digest}", manifest)
        referrers = [Named("", other) for other in self._manifests if other.digest != manifest.digest]
        last = small(index.INDEX_FILE, index.write([named, *referrers]), last=True)
        written = self._write(manifest, [*self._files, last])
        self.sent = min(written.size, self._size)  # without the documents of the archive, which are no blobs
        return written.displaced


def blocks(files: Sequence[File]) -> Iterator[bytes]:
    """The bytes of an archive in their order."""
    for file in files:
        yield from file.blocks()


def small(name: str, data: bytes, *, last: bool = False) -> File:
    """A file whose content is at hand."""
    return File(name, len(data), from_memory(data), last)


def as_volumes(files: Sequence[File]) -> Volumes:
    """An archive that is still to be written, to be read from any place in it."""
    pieces = []
    for file in files:
        pieces += [_piece(file.head), Volume(file.size, partial(_opened, file)), _piece(file.tail)]
    return Volumes(pieces)


def _opened(file: File, offset: int) -> Stream:
    content = file.open()
    skip(content, offset)
    return content


def _piece(data: bytes) -> Volume:
    return Volume(len(data), lambda offset: io.BytesIO(data[offset:]))
