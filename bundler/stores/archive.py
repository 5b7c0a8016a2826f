"""A bundle in one file: an OCI layout as a tar archive, in a fixed order (docs/format.md, "Archive")."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bundler.errors import BundlerError, IntegrityError, NotFoundError, StoreError
from bundler.format import document, tar
from bundler.format.content import BLOCK, Begun, Descriptor, Digest, Stream, VerifyingReader
from bundler.format.reference import ArchiveReference
from bundler.partfile import PartFile, check_space, sweep
from bundler.ports import Named, Opener, Store
from bundler.stores import index


class ArchiveStore:
    """One name in an archive file. Writing makes the file anew, with that bundle alone in it."""

    rereadable = True
    parallel = 1
    ordered = True

    def __init__(self, path: Path, name: str = "", digest: Digest | None = None) -> None:
        bare = not name and not digest and path.suffix == ".tar"
        self.where = str(path) if bare else str(ArchiveReference(str(path), name, digest))
        self._path = path
        self._name = name
        self._digest = digest
        self._members: dict[str, tarfile.TarInfo] | None = None

    def resolve(self) -> Descriptor:
        return index.find(self.names(), self._name, self._digest, self.where)

    def manifest(self, descriptor: Descriptor) -> bytes:
        with self.open(descriptor) as stream:
            return stream.read()

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        return VerifyingReader(self._member(index.blob_path(blob.digest), begun.size if begun else 0), blob, self.where, begun)

    def has(self, blob: Descriptor) -> bool:
        """Never: an archive is written anew, all of it."""
        del blob
        return False

    def referrers(self, manifest: Descriptor) -> Sequence[Descriptor]:
        return index.referrers(self.names(), manifest, self.manifest, self.where)

    def names(self) -> Sequence[Named]:
        with self._member(index.INDEX_FILE) as stream:
            return index.read(stream.read(document.MAX_SIZE + 1), self.where)

    @contextmanager
    def upload(self, name: str, source: Store | None = None) -> Iterator[ArchiveUpload]:
        del source  # all of it is written anew
        self._refuse_strangers()
        if not self._path.parent.is_dir():
            raise StoreError(f"{self.where}: there is no directory {self._path.parent}", hint="Create it, or mount the medium.")
        sweep(self._path.parent)
        with PartFile(self._path.parent) as part:
            yield ArchiveUpload(part, self._path, self._name or name, self._digest, self.names if self._path.exists() else list)

    def _refuse_strangers(self) -> None:
        """A file that is no bundle is somebody's work: never written over."""
        if not self._path.exists():
            return
        try:
            self.names()
        except BundlerError as error:
            raise StoreError(
                f"{self.where} exists and is no bundle archive", hint="Name another file, or remove this one first."
            ) from error

    def _member(self, name: str, start: int = 0) -> Stream:
        if self._members is None:
            self._members = self._scan()
        if name not in self._members:
            raise IntegrityError(
                f"{self.where}: {name} is missing from the archive", hint="The file is damaged, incomplete, or no bundle archive."
            )
        info = self._members[name]
        return _Section(self._path, info.offset_data + start, info.size - start)

    def _scan(self) -> dict[str, tarfile.TarInfo]:
        """Where every file of the archive lies; only headers are read."""
        try:
            with tarfile.open(self._path, "r:") as archive:
                return {member.name.removeprefix("./"): member for member in archive if member.isfile()}
        except FileNotFoundError:
            raise NotFoundError(f"{self.where}: there is no such file") from None
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise IntegrityError(
                f"{self.where} is no readable tar archive: {error}", hint="Make or fetch the file again."
            ) from error
        except OSError as error:
            raise StoreError(f"{self.where}: {error.strerror or error}") from error


class _Section(Stream):
    """A stretch of a file, as a stream."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        self._file = path.open("rb")
        self._file.seek(offset)
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(min(size, self._left) if size >= 0 else self._left)
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._file.close()


class ArchiveUpload:
    """A bundle on its way into an archive; what comes is appended at once."""

    def __init__(
        self, part: PartFile, path: Path, name: str, digest: Digest | None, present: Callable[[], Sequence[Named]]
    ) -> None:
        self._present = present
        self._part = part
        self._path = path
        self._name = name
        self._digest = digest
        self._written: set[Digest] = set()
        self._manifests: list[Descriptor] = []
        self._append(index.LAYOUT_FILE, index.LAYOUT_CONTENT)

    def has(self, blob: Descriptor) -> bool:
        return blob.digest in self._written

    def reserve(self, size: int) -> None:
        check_space(self._path.parent, size)

    def put(self, blob: Descriptor, opened: Opener) -> None:
        self._part.write(_header(index.blob_path(blob.digest), blob.size))
        with opened() as content:
            while block := content.read(BLOCK):
                self._part.write(block)
        self._part.write(tar.padding(blob.size))
        self._written.add(blob.digest)

    def add(self, manifest: Descriptor, data: bytes) -> None:
        self._append(index.blob_path(manifest.digest), data)
        self._manifests.append(manifest)

    def commit(self, manifest: Descriptor) -> None:
        index.check_digest(manifest, self._digest, str(self._path))
        self._publish(manifest, [Named(self._name or f"bundle@{manifest.digest}", manifest)])

    def attach(self, manifest: Descriptor) -> None:
        named = [item for item in self._present() if item.name or item.manifest.digest == manifest.digest]
        if {item.manifest.digest for item in named} != {manifest.digest}:
            raise StoreError(
                f"{self._path} holds other bundles, too, and would lose them",
                hint="Copy the one to a file of its own, and sign it there.",
            )
        self._publish(manifest, named)

    def _publish(self, manifest: Descriptor, named: Sequence[Named]) -> None:
        referrers = [Named("", other) for other in self._manifests if other.digest != manifest.digest]
        self._append(index.INDEX_FILE, index.write([*named, *referrers]))
        self._part.write(tar.TRAILER)
        self._part.publish(self._path)

    def _append(self, name: str, data: bytes) -> None:
        self._part.write(_header(name, len(data)) + data + tar.padding(len(data)))


def _header(name: str, size: int) -> bytes:
    return tar.encode(tar.Entry(path=f"/{name}", kind=tar.Kind.FILE, mode=0o644, uid=0, gid=0, mtime=0, size=size))
