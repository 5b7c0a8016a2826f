"""An archive in parts of one size, for media that are too small for it (docs/spec/format.md, "Split archive").

The list of parts is written first, and each part gets its name when it is complete. After an interruption the same
command resumes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import IntegrityError, StoreError, UsageError, disk_errors
from bundler.format import part_list, units
from bundler.format.content import Descriptor, Digest, HashingWriter
from bundler.format.part_list import Part, PartList
from bundler.localfs import locks
from bundler.localfs.atomic_file import PartFile, check_space, sweep, write_file
from bundler.localfs.readback import read_back
from bundler.ports import Store
from bundler.stores.archive import multi_file, part_files
from bundler.stores.archive.multi_file import Volumes
from bundler.stores.archive.store import BundleArchive, check_directory, where
from bundler.stores.archive.writer import ArchiveFile, ArchiveUpload, Written, as_volumes
from bundler.streams import BLOCK, Progress, Readable


@dataclass(frozen=True)
class Split:
    """How to split: the part size in bytes, the numbers of the parts to write (empty: all), and whether each is read back."""

    part_size: int
    only: frozenset[int] = frozenset()
    verify_written: bool = True


class SplitFileStore(BundleArchive):
    """A split archive in files, as the target for one bundle."""

    def __init__(self, path: Path, name: str, digest: Digest | None, how: Split, progress: Progress) -> None:
        super().__init__(where(path, name, digest), lambda: part_files.find(path, (), self.where), name, digest)
        self._path = path
        self._how = how
        self._progress = progress

    @contextmanager
    def upload(self, name: str, source: Store | None = None) -> Iterator[ArchiveUpload]:
        with disk_errors(self._path):
            is_there = self._path.exists()
        if is_there:
            raise StoreError(
                f"{self._path} exists and would be read instead of its parts",
                hint=f"Remove it, or: fps-bundle split {self._path} SIZE",
            )
        # The space needed depends on the existing parts, so `split` checks it.
        yield ArchiveUpload(self._write, lambda _: None, self._name or name, self._digest, self.where, source)

    def _write(self, manifest: Descriptor, files: Sequence[ArchiveFile]) -> Written:
        return Written(split(self._path, manifest.digest, as_volumes(files), self._how, self._progress).written)


@dataclass(frozen=True)
class SplitResult:
    """The list of the parts, and the bytes written in this run."""

    listed: PartList
    written: int


def split(path: Path, bundle: Digest, archive: Volumes, how: Split, progress: Progress) -> SplitResult:
    """Write the list of a bundle archive's parts, and the parts that are missing or damaged.

    Raises `StoreError` for a list of another archive or part size.
    """
    part_list.check_part_size(how.part_size, archive.size)
    check_directory(path.parent, str(path))
    with disk_errors(path), _alone(path.parent):
        sweep(path.parent)
        existing = _existing_list(path, bundle, archive.size, how.part_size)
        listed = existing or _new_list(path, bundle, archive, how.part_size, progress)
        missing = _missing(path, listed, how.only, progress)
        size = sum(part.size for part in missing)
        check_space(path.parent, size)
        if not existing:
            _refuse_existing(path, listed)
            write_file(part_files.list_path(path), listed.to_bytes())
        try:
            _make(path, archive, missing, progress, verify_written=how.verify_written)
        except BaseException:
            if not existing and not any((path.parent / part.name).exists() for part in listed.parts):
                part_files.list_path(path).unlink(missing_ok=True)
            raise
    return SplitResult(listed, size)


def _existing_list(path: Path, bundle: Digest, size: int, part_size: int) -> PartList | None:
    """Return the existing list, which must be of the same archive and part size."""
    try:
        listed = part_files.read_list(path)
    except FileNotFoundError:
        return None
    if (listed.bundle, listed.size, listed.part_size) == (bundle, size, part_size):
        return listed
    raise StoreError(
        f"{part_files.list_path(path)} lists other parts: {listed.size} bytes of {listed.bundle} in parts of {listed.part_size}",
        hint=f"Name another file, or remove {path.name}.* first.",
    )


def _new_list(path: Path, bundle: Digest, archive: Volumes, part_size: int, progress: Progress) -> PartList:
    """Read the archive once to list its parts."""
    progress.stage(f"reading the archive for {path}", archive.size)
    digests = []
    with archive.open(0) as content:
        for _ in part_list.cuts(archive.size, part_size):
            part = hashlib.sha256()
            for block in _blocks(multi_file.limited(content, part_size), progress):
                part.update(block)
            digests.append(Digest(part.hexdigest()))
    return PartList.of(bundle, path.name, archive.size, part_size, digests)


def _missing(path: Path, listed: PartList, only: frozenset[int], progress: Progress) -> list[Part]:
    if wrong := sorted(only - {part.number for part in listed.parts}):
        raise UsageError(f"there is no part {wrong[0]}: the parts of {path} are 1 to {len(listed.parts)}")
    chosen = [part for part in listed.parts if not only or part.number in only]
    progress.stage(f"verifying existing parts of {path}")
    return [part for part in chosen if not part_files.is_sound(path.parent / part.name, part)]


def _refuse_existing(path: Path, listed: PartList) -> None:
    for part in listed.parts:
        if (path.parent / part.name).exists():
            raise StoreError(
                f"{path.parent / part.name} exists without the list {part_files.list_path(path).name} beside it",
                hint="Name another file, or remove this one first.",
            )


def _make(path: Path, archive: Volumes, missing: Sequence[Part], progress: Progress, *, verify_written: bool) -> None:
    progress.stage(f"writing {units.counted(len(missing), 'part')} of {path}", sum(part.size for part in missing))
    for run in _runs(missing):
        with archive.open(run[0].offset) as content:
            for part in run:
                _make_part(path, part, multi_file.limited(content, part.size), progress, verify_written=verify_written)


def _runs(missing: Sequence[Part]) -> Iterator[list[Part]]:
    """Yield runs of consecutive parts, each read in one pass."""
    run: list[Part] = []
    for part in missing:
        if run and part.number != run[-1].number + 1:
            yield run
            run = []
        run.append(part)
    if run:
        yield run


def _make_part(path: Path, part: Part, content: Readable, progress: Progress, *, verify_written: bool) -> None:
    with PartFile(path.parent) as file:
        writer = HashingWriter(file)
        for block in _blocks(content, progress):
            writer.write(block)
        if writer.digest != part.digest:
            raise IntegrityError(
                f"{part.name} does not match {part_files.list_path(path).name}",
                hint=f"Remove {path.name}.* and split again: the archive changed, perhaps by other signatures.",
            )
        if verify_written:
            read_back(file, part.digest.hex, part.name, progress)
        file.publish(path.parent / part.name)


def _blocks(content: Readable, progress: Progress) -> Iterator[bytes]:
    while block := content.read(BLOCK):
        progress.advance(len(block))
        yield block


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Raises `BusyError` while another process splits an archive into the same directory."""
    with disk_errors(directory):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        locks.acquire(descriptor, f"the parts of an archive in {directory}", limit=0)
        yield
    finally:
        os.close(descriptor)
