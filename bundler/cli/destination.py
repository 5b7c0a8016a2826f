"""The destination of ``copy``: a store, its form, and the options that belong to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.api import stores
from bundler.errors import UsageError
from bundler.format import part_list, units
from bundler.format.reference import ArchiveReference, LayoutReference, LocalReference, Reference, RegistryReference

if TYPE_CHECKING:
    from bundler.api.stores import StoreOptions
    from bundler.ports import Store
    from bundler.streams import Progress


@dataclass(frozen=True)
class Target:
    """A reference, and how to write to it."""

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
        """Whether the bundle is read twice: a list of parts precedes the parts, and needs their digests."""
        return self.part_size is not None

    def open(self, store_options: StoreOptions, progress: Progress) -> Store:
        """Return the store to copy to, which leaves out the blobs of ``have``."""
        store = self._store(store_options, progress)
        if not self.have:
            return store
        from bundler.cli import have
        from bundler.stores.archive.thin import ThinStore

        return ThinStore(store, have.read(self.have, store_options))

    def _store(self, store_options: StoreOptions, progress: Progress) -> Store:
        reference = self.reference
        if self.part_size is None:
            return stores.open_plain(reference, store_options)
        if isinstance(reference, ArchiveReference):
            from bundler.stores.archive.split_files import Split, SplitFileStore

            how = Split(self.part_size, self.only, store_options.verify_files)
            return SplitFileStore(Path(reference.path), reference.tag, reference.digest, how, progress)
        from bundler.stores.archive.split_artifact import SplitTarget

        return SplitTarget(stores.open_plain(reference, store_options), self.part_size, progress)


def parse(reference: Reference, *, split: str | None, only: Sequence[int], have: Sequence[str], delta: bool = False) -> Target:
    """Combine the options of ``copy``; raises `UsageError` for a combination that has no meaning."""
    part_size = parse_part_size(split) if split is not None else None
    is_file = isinstance(reference, ArchiveReference) and not reference.is_pipe
    if only and not (split and is_file):
        raise UsageError("--part needs an archive file that is split", hint="Add --split, and copy to a file.")
    if split and not is_file and not isinstance(reference, RegistryReference):
        raise UsageError(
            "--split needs an archive file or a registry as destination", hint="Copy to oci-archive:FILE, FILE.tar or a registry."
        )
    if have and not isinstance(reference, ArchiveReference | LayoutReference):
        raise UsageError(
            "--have needs an archive or a layout as destination", hint="Copy to oci-archive:FILE, FILE.tar or oci:DIR."
        )
    if delta and isinstance(reference, LocalReference):
        raise UsageError(
            "--delta-from needs another destination: the local store keeps whole bundles",
            hint="Copy to a file, layout or registry.",
        )
    if delta and have:
        raise UsageError("--delta-from and --have cannot be combined", hint="Use --delta-from, which also leaves out equal layers.")
    return Target(reference, part_size, frozenset(only), have)


def parse_part_size(text: str) -> int:
    """Return the size of a part in bytes; raises `UsageError` for an invalid or too small size."""
    part_size = units.medium(text)
    part_list.check_part_size(part_size)
    return part_size
