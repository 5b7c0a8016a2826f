"""Where a copy goes, and in what shape: what the options of ``copy`` mean together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.cli import wiring
from bundler.errors import UsageError
from bundler.format import part_list, units
from bundler.format.reference import ArchiveReference, LayoutReference, LocalReference, Reference, RegistryReference

if TYPE_CHECKING:
    from bundler.ports import Store
    from bundler.streams import Progress


@dataclass(frozen=True)
class Target:
    """A reference, and how it is written to."""

    reference: Reference
    part_size: int | None
    only: frozenset[int]
    have: Sequence[str]

    @property
    def is_pipe(self) -> bool:
        return isinstance(self.reference, ArchiveReference) and self.reference.is_pipe

    @property
    def is_local(self) -> bool:
        return isinstance(self.reference, LocalReference)

    @property
    def reads_twice(self) -> bool:
        """Whether what is copied is read once to know what it will be, and again to send it."""
        return self.part_size is not None

    def open(self, link: wiring.Link, progress: Progress) -> Store:
        """The store to copy to, made thin where the other side has something."""
        store = self._store(link, progress)
        if not self.have:
            return store
        from bundler.cli import have
        from bundler.stores.archive.thin import ThinStore

        return ThinStore(store, have.read(self.have, link))

    def _store(self, link: wiring.Link, progress: Progress) -> Store:
        reference = self.reference
        if isinstance(reference, LayoutReference):
            from bundler.stores.layout.store import LayoutStore

            return LayoutStore(Path(reference.path), reference.tag, reference.digest, readback=link.readback, progress=progress)
        if isinstance(reference, ArchiveReference) and not reference.is_pipe:
            return self._archive(reference, link, progress)
        store = wiring.open_store(reference, link)
        if self.part_size is None:
            return store
        from bundler.stores.archive.split_artifact import SplitTarget

        return SplitTarget(store, self.part_size, progress)

    def _archive(self, reference: ArchiveReference, link: wiring.Link, progress: Progress) -> Store:
        path = Path(reference.path)
        if self.part_size is None:
            from bundler.stores.archive.store import ArchiveStore

            return ArchiveStore(path, reference.tag, reference.digest, readback=link.readback, progress=progress)
        from bundler.stores.archive.split_files import Split, SplitFileStore

        return SplitFileStore(path, reference.tag, reference.digest, Split(self.part_size, self.only, link.readback), progress)


def parse(reference: Reference, *, split: str | None, only: Sequence[int], have: Sequence[str]) -> Target:
    """What is asked for; raises `UsageError` for options that do not go together."""
    part_size = parse_part_size(split) if split is not None else None
    is_file = isinstance(reference, ArchiveReference) and not reference.is_pipe
    if only and not (split and is_file):
        raise UsageError("--part chooses parts of an archive file", hint="Give --split, and a file to split into.")
    if split and not is_file and not isinstance(reference, RegistryReference):
        raise UsageError("--split needs an archive file, or a registry", hint="Copy to oci-archive:FILE, FILE.tar or a registry.")
    if have and not isinstance(reference, ArchiveReference | LayoutReference):
        raise UsageError("--have leaves blobs out of an archive or a layout", hint="Copy to oci-archive:FILE, FILE.tar or oci:DIR.")
    return Target(reference, part_size, frozenset(only), have)


def parse_part_size(text: str) -> int:
    """The size of a part; raises `UsageError` for what is no size, or too small a one."""
    part_size = units.medium(text)
    part_list.check_part_size(part_size)
    return part_size
