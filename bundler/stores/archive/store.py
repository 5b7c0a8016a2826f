"""A bundle in one file: an OCI layout as a tar archive, in a fixed order (docs/spec/format.md, "Archive")."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

from bundler.errors import BundlerError, IntegrityError, NotFoundError, StoreError, disk_errors
from bundler.format import strict_json
from bundler.format.content import Descriptor, Digest, RangeReader, VerifyingReader
from bundler.format.reference import ArchiveReference
from bundler.format.signature import NewReferrer
from bundler.localfs.atomic_file import PartFile, check_space, sweep
from bundler.localfs.readback import read_back
from bundler.ports import Displaced, Named, Store
from bundler.stores.archive import multi_file, part_files, tar_index
from bundler.stores.archive.multi_file import Volumes
from bundler.stores.archive.tar_index import TarMember
from bundler.stores.archive.writer import ArchiveFile, ArchiveUpload, Written, file_from_memory
from bundler.stores.layout import index
from bundler.streams import NULL_PROGRESS, Begun, Progress, Stream


class BundleArchive:
    """One name in an archive; ``find`` returns the bytes of the archive on first use."""

    rereadable = True
    parallel = 1
    ordered = True  # the files of an archive have an order

    def __init__(self, where: str, find: Callable[[], Volumes], name: str = "", digest: Digest | None = None) -> None:
        self.where = where
        self._find = find
        self._name = name
        self._digest = digest
        self._found: tuple[Volumes, dict[str, TarMember]] | None = None

    def resolve(self) -> Descriptor:
        data, named = self._index()
        return index.find_in(named, data, self._name, self._digest, self.where)

    def manifest(self, descriptor: Descriptor) -> bytes:
        strict_json.check_size(descriptor.size, f"{self.where}: the manifest")
        with self.open(descriptor) as stream:
            return stream.read()

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        archive, _ = self._archive()
        content = self._member(index.blob_path(blob.digest), begun.size if begun else 0)
        return _Explained(VerifyingReader(content, blob, self.where, begun), archive)

    def open_range(self, blob: Descriptor, offset: int, size: int) -> Stream:
        archive, _ = self._archive()
        return _Explained(RangeReader(self._member(index.blob_path(blob.digest), offset), blob, size, self.where), archive)

    def holds(self, blob: Descriptor) -> bool:
        """Whether a blob of that size is in the archive."""
        found = self._archive()[1].get(index.blob_path(blob.digest))
        return found is not None and found.size == blob.size

    def has(self, blob: Descriptor) -> bool:
        """Return False: an archive is always written completely."""
        del blob
        return False

    def referrers(self, manifest: Descriptor) -> Sequence[Descriptor]:
        return index.referrers(self.names(), manifest, self.manifest, self.where)

    def attach(self, new: NewReferrer) -> None:
        refuse_attaching(new, self.where)

    def names(self) -> Sequence[Named]:
        return self._index()[1]

    def _index(self) -> tuple[bytes, list[Named]]:
        """Return the index as bytes and read; raises what `Volumes.check` raises."""
        archive, _ = self._archive()
        with explained(archive), disk_errors(self.where), self._member(index.INDEX_FILE) as stream:
            data = multi_file.limited(stream, strict_json.MAX_SIZE + 1).read()
        named = index.read(data, self.where)
        archive.check([item.manifest.digest for item in named])
        return data, named

    def volumes(self) -> Volumes:
        """Return the bytes of the archive."""
        return self._archive()[0]

    def _member(self, name: str, start: int = 0) -> Stream:
        archive, found = self._archive()
        if name not in found:
            raise IntegrityError(
                f"{self.where}: {name} is missing from the archive",
                hint="The file is damaged, incomplete, or not a bundle archive.",
            )
        place = found[name]
        with self._readable():
            return multi_file.limited(archive.open(place.offset + start), place.size - start)

    def _archive(self) -> tuple[Volumes, dict[str, TarMember]]:
        """Return the bytes of the archive and the position of each file."""
        if self._found is None:
            with self._readable():
                archive = self._find()
                with explained(archive), self._readable():
                    found = tar_index.find(archive)
                    self._check_version(archive, found.get(index.LAYOUT_FILE))
                    self._found = archive, found
        return self._found

    def _check_version(self, archive: Volumes, place: TarMember | None) -> None:
        if place:
            with multi_file.limited(archive.open(place.offset), min(place.size, strict_json.MAX_SIZE + 1)) as content:
                index.check_layout(content.read(), self.where)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise NotFoundError(f"{self.where}: no such file") from None
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise IntegrityError(
                f"{self.where} is not a readable tar archive: {error}", hint="Make or fetch the file again."
            ) from error
        except OSError as error:
            raise StoreError(f"{self.where}: {error.strerror or error}") from error


class ArchiveStore(BundleArchive):
    """One name in an archive file. An upload replaces the file by one with that bundle alone.

    Without a file, but with a list of parts, the parts are read, beside the list or in ``parts_from``. With
    ``verify_written`` a new file is read back from the medium before it gets its name.
    """

    def __init__(
        self,
        path: Path,
        name: str = "",
        digest: Digest | None = None,
        *,
        parts_from: Sequence[Path] = (),
        verify_written: bool = True,
        progress: Progress = NULL_PROGRESS,
    ) -> None:
        super().__init__(where(path, name, digest), lambda: _find(path, parts_from, self.where, progress), name, digest)
        self._path = path
        self._verify_written = verify_written
        self._progress = progress

    def rename(self, tag: str) -> None:
        """Use another tag from now on."""
        self._name, self.where = tag, where(self._path, tag, None)

    @contextmanager
    def upload(self, name: str, source: Store | None = None) -> Iterator[ArchiveUpload]:
        part_files.refuse_list(self._path)
        former = self._former()
        check_directory(self._path.parent, self.where)
        sweep(self._path.parent)
        write = partial(self._write, again=source is not None and not source.rereadable, former=former)
        yield ArchiveUpload(write, partial(check_space, self._path.parent), self._name or name, self._digest, self.where)

    def attach(self, new: NewReferrer) -> None:
        """Write the file again with everything in it and the new referrer."""
        if not _is_there(self._path):  # the archive is in parts, which would all change
            super().attach(new)
        referrer = Named("", new.referrer.descriptor)
        edited = index.edit(
            self._index()[0],
            lambda item: not item.name and item.manifest.digest == referrer.manifest.digest,
            [referrer],
            self.where,
        )
        added = {blob.digest: (blob, data) for blob, data in (*new.blobs, (new.referrer.descriptor, new.referrer.data))}
        files = [
            file_from_memory(index.LAYOUT_FILE, index.LAYOUT_CONTENT),
            *(
                ArchiveFile(index.blob_path(blob.digest), blob.size, partial(self.open, blob))
                for blob in self._blobs()
                if blob.digest not in added
            ),
            *(file_from_memory(index.blob_path(blob.digest), data) for blob, data in added.values()),
            file_from_memory(index.INDEX_FILE, edited, last=True),
        ]
        check_space(self._path.parent, sum(file.size for file in files))
        sweep(self._path.parent)
        self._write(new.referrer.descriptor, files)

    def _blobs(self) -> list[Descriptor]:
        """Return all blobs of the archive, in order."""
        _, found = self._archive()
        blobs = (index.blob(name, place.size) for name, place in sorted(found.items(), key=lambda item: item[1].offset))
        return [blob for blob in blobs if blob]

    def _write(
        self, manifest: Descriptor, files: Sequence[ArchiveFile], *, again: bool = False, former: Sequence[Named] = ()
    ) -> Written:
        """Write all files; with ``again`` a damaged one is fetched once more."""
        with PartFile(self._path.parent) as part:
            written = Begun()
            for file in files:
                try:
                    written = _append(part, file, written)
                except IntegrityError as error:
                    if not again:
                        raise
                    self._progress.note(f"fetching it once more: {error.message}")
                    part.cut(written.size)
                    written = _append(part, file, written)
            if self._verify_written:
                read_back(part, written.hash.hexdigest(), self.where, self._progress)
            part.publish(self._path)
        gone = [item.manifest.digest for item in former if item.name and item.manifest.digest != manifest.digest]
        return Written(sum(file.size for file in files), Displaced(gone[0]) if gone else None)

    def _former(self) -> Sequence[Named]:
        """Return the bundles in the file; raises `StoreError` for another file, which is never overwritten."""
        if not _is_there(self._path):
            return ()
        try:
            return self.names()
        except BundlerError as error:
            raise StoreError(
                f"{self.where} exists and is not a bundle archive", hint="Name another file, or remove this one first."
            ) from error


def where(path: Path, name: str, digest: Digest | None) -> str:
    """Return the shortest reference of an archive."""
    bare = not name and not digest and path.suffix == ".tar"
    return str(path) if bare else str(ArchiveReference(str(path), name, digest))


def check_directory(directory: Path, where: str) -> None:
    """Raises `StoreError` when the directory does not exist."""
    with disk_errors(directory):
        is_there = directory.is_dir()
    if not is_there:
        raise StoreError(f"{where}: no such directory: {directory}", hint="Create it, or mount the medium.")


def _is_there(path: Path) -> bool:
    with disk_errors(path):
        return path.exists()


def refuse_attaching(new: NewReferrer, where: str) -> NoReturn:
    """Raises `StoreError` for a store that cannot take referrers."""
    raise StoreError(
        f"{where}: cannot add a signature to the bundle {new.subject} there",
        hint="Copy the bundle to a file, a layout or a registry, sign it there, and copy it again.",
    )


@contextmanager
def explained(archive: Volumes) -> Iterator[None]:
    """Replace an error by the explanation of the archive, such as the damaged parts."""
    try:
        yield
    except BundlerError as error:
        explanation = archive.explain(error)
        if explanation is error:
            raise
        raise explanation from error


def _append(part: PartFile, file: ArchiveFile, before: Begun) -> Begun:
    """Write the next file; returns the digest and size of everything written."""
    written = before.copy()
    for block in file.blocks():
        part.write(block)
        written.add(block)
    return written


def _find(path: Path, parts_from: Sequence[Path], where: str, progress: Progress) -> Volumes:
    try:
        size = multi_file.plain_size(path)
    except FileNotFoundError:
        return part_files.find(path, parts_from, where)
    return part_files.beside(path, size, parts_from, progress)


class _Explained(Stream):
    def __init__(self, content: Stream, archive: Volumes) -> None:
        self._content = content
        self._archive = archive

    def read(self, size: int = -1, /) -> bytes:
        with explained(self._archive):
            return self._content.read(size)

    def close(self) -> None:
        self._content.close()
