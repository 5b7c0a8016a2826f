"""Bundles in an OCI image-layout directory (OCI image spec, image-layout.md)."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bundler.errors import BusyError, IntegrityError, NotFoundError, StoreError, disk_errors
from bundler.format import strict_json
from bundler.format.content import Descriptor, Digest, HashingWriter, RangeReader, VerifyingReader
from bundler.format.reference import LayoutReference
from bundler.localfs import locks
from bundler.localfs.atomic_file import PartFile, check_space, is_part, keep_part, sweep, sync_directory, write_file
from bundler.localfs.readback import read_back, watching
from bundler.ports import Displaced, Named, Store
from bundler.stores.layout import index, verified_cache
from bundler.streams import BLOCK, NULL_PROGRESS, Begun, Opener, Progress, Stream

if TYPE_CHECKING:
    from bundler.format.signature import NewReferrer

_log = logging.getLogger(__name__)

_NO_FILE = frozenset({errno.ELOOP, errno.EINVAL, errno.ENXIO})
"""Errors from opening a link, a socket, or another file that is not plain."""


class LayoutStore:
    """One name in a layout directory, which is created with the first bundle.

    With ``verify_written`` a blob is read back from the medium before it gets its name.
    """

    rereadable = True
    parallel = 1
    ordered = False

    file_mode = 0o644
    own_files = frozenset({"blobs", index.INDEX_FILE, index.LAYOUT_FILE})
    """Files that may exist before ``oci-layout``; another process may be creating the layout."""
    directories: tuple[str, ...] = (".", "blobs/sha256")
    """Directories with temporary files."""

    def __init__(
        self,
        path: Path,
        name: str = "",
        digest: Digest | None = None,
        where: str = "",
        *,
        verify_written: bool = False,
        progress: Progress = NULL_PROGRESS,
    ) -> None:
        self.where = where or str(LayoutReference(str(path), name, digest))
        self._path = path
        self._name = name
        self._digest = digest
        self._verify_written = verify_written
        self._progress = progress

    def rename(self, tag: str) -> None:
        """Use another tag from now on."""
        self._name = tag
        self.where = str(LayoutReference(str(self._path), tag))

    def resolve(self) -> Descriptor:
        return index.find(self._index(), self._name, self._digest, self.where)

    def manifest(self, descriptor: Descriptor) -> bytes:
        strict_json.check_size(descriptor.size, f"{self.where}: the manifest")
        with self.open(descriptor) as stream:
            return stream.read()

    def has_manifest(self, digest: Digest) -> bool:
        return any(item.manifest.digest == digest for item in self.names())

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        return VerifyingReader(self._file(blob, begun.size if begun else 0), blob, self.where, begun)

    def open_range(self, blob: Descriptor, offset: int, size: int) -> Stream:
        return RangeReader(self._file(blob, offset), blob, size, self.where)

    def _file(self, blob: Descriptor, offset: int) -> BinaryIO:
        try:
            file = open(self._blob(blob.digest), "rb", opener=_careful)  # noqa: SIM115, closed by the reader
            file.seek(offset)
        except OSError as error:
            raise IntegrityError(f"{self.where}: the blob {blob.digest} cannot be read: {error.strerror}") from error
        return file

    def referrers(self, manifest: Descriptor) -> Sequence[Descriptor]:
        return index.referrers(self.names(), manifest, self.manifest, self.where)

    def attach(self, new: NewReferrer) -> None:
        self.prepare()
        with self.writing():
            self._attach(new)

    def _attach(self, new: NewReferrer) -> None:
        for blob, data in new.blobs:
            self.take(blob.digest, data)
        self.take(new.referrer.descriptor.digest, new.referrer.data)
        with self._locked():
            if new.subject not in index.subjects(self.names(), self.manifest, self.where):
                raise BusyError(
                    f"{self.where}: another process removed the bundle {new.subject} at the same time",
                    hint="List the bundles:",
                    command="fps-bundle list",
                )
            referrer = Named("", new.referrer.descriptor)
            self._edit(lambda item: not item.name and item.manifest.digest == referrer.manifest.digest, [referrer])

    def names(self) -> Sequence[Named]:
        return index.read(self._index(), self.where)

    def _index(self) -> bytes:
        with disk_errors(self._path):
            is_there = self._path.is_dir()
        if not is_there:
            raise NotFoundError(f"{self.where}: no such directory: {self._path}")
        try:
            self._check_version()
            return self._read_index()
        except FileNotFoundError:
            raise NotFoundError(f"{self.where}: {self._path} is not an OCI layout: it has no index.json") from None
        except OSError as error:
            if error.errno in _NO_FILE:
                raise IntegrityError(f"{self.where}: index.json or oci-layout is not a plain file") from error
            raise StoreError(
                f"{self.where}: {self._path / index.INDEX_FILE} or {index.LAYOUT_FILE} cannot be read: {error.strerror}",
                hint="Check the medium and the permissions of these files.",
            ) from error

    def _check_version(self) -> None:
        """Raises `IntegrityError` for another layout version; an empty file is about to be written by another process."""
        with suppress(FileNotFoundError):
            if data := self._read_file(index.LAYOUT_FILE):
                index.check_layout(data, self.where)

    def _read_index(self) -> bytes:
        return self._read_file(index.INDEX_FILE)

    def _read_file(self, name: str) -> bytes:
        with open(self._path / name, "rb", opener=_careful) as file:
            return file.read(strict_json.MAX_SIZE + 1)

    @contextmanager
    def upload(self, name: str, source: Store | None = None) -> Iterator[LayoutUpload]:
        self.prepare()
        keep = source is not None and not source.rereadable
        with self.writing():
            yield LayoutUpload(self, self._name or name, keep=keep)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other processes from deleting blobs during the block, because the names of new blobs come last."""
        directory = self._open_blobs()
        try:
            with disk_errors(self.blobs):
                locks.acquire(directory, self._what, shared=True)
            yield
        finally:
            os.close(directory)

    def _open_blobs(self) -> int:
        """Open the directory of the blobs, whose lock is shared by all processes that write to the layout."""
        with disk_errors(self.blobs):
            return os.open(self.blobs, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def check_digest(self, manifest: Descriptor) -> None:
        """Raises `StoreError` when the store was opened for another digest."""
        index.check_digest(manifest, self._digest, self.where)

    def new_blob(self) -> LayoutBlob:
        self.prepare()
        return LayoutBlob(self)

    def check_space(self, size: int) -> None:
        """Raises `NoSpaceError` when ``size`` more bytes do not fit."""
        check_space(self._path, size)

    def adopt(self, part: PartFile, digest: Digest) -> None:
        """Add a complete and verified blob."""
        if self._verify_written:
            read_back(part, digest.hex, f"{digest.short} from {self.where}", self._progress)
        part.publish(self._blob(digest), self.file_mode)

    def take(self, digest: Digest, data: bytes) -> None:
        """Add a small blob from memory."""
        with PartFile(self.blobs) as part:
            part.write(data)
            self.adopt(part, digest)

    def holds(self, blob: Descriptor) -> bool:
        """Whether there is a file with the blob's name and size; it is verified when it is read."""
        path = self._blob(blob.digest)
        with disk_errors(path):
            return path.is_file() and path.stat().st_size == blob.size

    def has(self, blob: Descriptor) -> bool:
        """Whether the blob is there and sound: verified since its last change, or now; with ``verify_written`` always now."""
        path = self._blob(blob.digest)
        with disk_errors(path):
            if not path.is_symlink() and not path.exists():
                return False
        with watching(blob.size, f"verifying {blob.digest.short} in {self.where}", self._progress) as advance:
            is_sound = verified_cache.is_sound(path, blob.digest, medium=self._verify_written, advance=advance)
        if not is_sound:
            _log.warning("%s: blob %s is damaged and counts as missing", self.where, blob.digest)
        return is_sound

    def set_name(self, name: str, manifest: Descriptor, referrers: Sequence[Descriptor]) -> Displaced | None:
        """Move a name to a manifest whose blobs are all here, and add its referrers; returns the displaced bundle."""
        with self._locked():
            return self.move_name(name, manifest, referrers)

    def move_name(self, name: str, manifest: Descriptor, referrers: Sequence[Descriptor] = ()) -> Displaced | None:
        """Do as `set_name`, while the caller holds the lock of the index."""
        added = {manifest.digest, *(referrer.digest for referrer in referrers)}
        former = [item.manifest for item in self.names() if item.name == name and item.manifest.digest != manifest.digest]
        untagged = [Named(self._untagged(other), other) for other in former if self._untagged(other)]
        taken = {name, self._untagged(manifest), *(item.name for item in untagged)} - {""}
        self._edit(
            lambda item: item.name in taken or (not item.name and item.manifest.digest in added),
            [Named(name, manifest), *untagged, *(Named("", referrer) for referrer in referrers)],
        )
        return Displaced(former[0].digest, self._untagged(former[0])) if former else None

    def _untagged(self, manifest: Descriptor) -> str:
        """Return the name of an untagged bundle; empty in stores that do not keep it."""
        del manifest
        return ""

    def _edit(self, remove: Callable[[Named], bool], add: Sequence[Named] = ()) -> None:
        path = self._path / index.INDEX_FILE
        with disk_errors(path):
            data = self._read_index()
        write_file(path, index.edit(data, remove, add, self.where), self.file_mode)

    @property
    def _what(self) -> str:
        """Return the name of the store for messages about its lock."""
        return f"the layout {self._path}"

    @property
    def blobs(self) -> Path:
        return self._path / "blobs" / "sha256"

    def _blob(self, digest: Digest) -> Path:
        return self._path / index.blob_path(digest)

    def prepare(self) -> None:
        """Create the layout if missing, and delete temporary files of killed processes."""
        with disk_errors(self._path):
            if others := self._other_files():
                raise StoreError(
                    f"{self.where}: {self._path} contains other files, such as {others[0]}",
                    hint="Use a new directory, or an OCI layout.",
                )
            if links := [path for path in (self.blobs.parent, self.blobs) if path.is_symlink()]:
                raise IntegrityError(
                    f"{self.where}: refusing to write through the symbolic link {links[0]}",
                    hint="Remove it, or use a new directory.",
                )
            self.blobs.mkdir(parents=True, exist_ok=True)
        for name in self.directories:
            sweep(self._path / name)
        with self._locked():
            if not (self._path / index.INDEX_FILE).exists():
                write_file(self._path / index.INDEX_FILE, index.write([]), self.file_mode)

    def _other_files(self) -> list[str]:
        if not self._path.is_dir() or (self._path / index.LAYOUT_FILE).exists():
            return []
        return sorted(path.name for path in self._path.iterdir() if path.name not in self.own_files and not is_part(path))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the index against changes; readers need no lock, as it is replaced atomically.

        The lock is on ``oci-layout``, which is therefore written in place, by the first process.
        """
        with disk_errors(self._path / index.LAYOUT_FILE):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self._path / index.LAYOUT_FILE, flags, self.file_mode)
        try:
            locks.acquire(descriptor, self._what)
            with disk_errors(self._path):
                if os.fstat(descriptor).st_size == 0:
                    os.write(descriptor, index.LAYOUT_CONTENT)
                    os.fsync(descriptor)
                self._check_version()
            yield
            sync_directory(self._path)
        finally:
            os.close(descriptor)


def _careful(path: str, flags: int) -> int:
    """Open plain files only; never follow a link or wait at a FIFO."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file")
    return descriptor


class LayoutUpload:
    """The upload of a bundle to a layout; with ``keep`` a later upload resumes a partial blob."""

    def __init__(self, store: LayoutStore, name: str, *, keep: bool) -> None:
        self._store = store
        self._name = name
        self._keep = keep
        self._referrers: list[Descriptor] = []
        self._sent: list[int] = []

    @property
    def sent(self) -> int:
        return sum(self._sent)

    def has(self, blob: Descriptor) -> bool:
        return self._store.has(blob)

    def reserve(self, size: int) -> None:
        self._store.check_space(size)

    def put(self, blob: Descriptor, opened: Opener) -> None:
        part = keep_part(self._store.blobs, blob.digest.hex) if self._keep else PartFile(self._store.blobs)
        with part:
            begun = part.begun(blob.size)
            with opened(begun) as content:
                while block := content.read(BLOCK):
                    part.write(block)
            self._store.adopt(part, blob.digest)
        self._sent.append(blob.size - (begun.size if begun else 0))

    def add(self, manifest: Descriptor, data: bytes) -> None:
        self._store.take(manifest.digest, data)
        self._referrers.append(manifest)

    def commit(self, manifest: Descriptor) -> Displaced | None:
        self._store.check_digest(manifest)
        referrers = [referrer for referrer in self._referrers if referrer.digest != manifest.digest]
        return self._store.set_name(self._name or f"bundle@{manifest.digest}", manifest, referrers)


class LayoutBlob:
    """A new blob; its digest is known when it is complete."""

    def __init__(self, store: LayoutStore) -> None:
        self._store = store
        self._part = PartFile(store.blobs)
        self._writer = HashingWriter(self._part)

    def write(self, data: bytes) -> int:
        return self._writer.write(data)

    def settle(self) -> None:
        self._part.settle()

    def finish(self, media_type: str) -> Descriptor:
        descriptor = Descriptor(media_type, self._writer.digest, self._writer.count)
        self._store.adopt(self._part, descriptor.digest)
        return descriptor

    def discard(self) -> None:
        self._part.discard()
