"""Places in which names and bundles can be removed: the local store, an OCI layout, or a repository of a registry."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bundler.format.content import Descriptor, Digest
    from bundler.format.delta_manifest import DeltaSource
    from bundler.ports.values import Displaced, Named


class EntryKind(Enum):
    """What an entry of a place is; all but `TAG` and `UNTAGGED` are neither counted by a policy nor matched by a wildcard."""

    TAG = "tag"
    UNTAGGED = "untagged"
    SOURCE = "source"
    """The tag that a delta leaves on its source in a registry."""
    NEXT_SOURCE = "next source"
    """The bundle in the local store from which the next ``push --delta`` makes its delta."""
    OTHER = "other"
    """Another artifact than a bundle or a delta."""


@dataclass(frozen=True)
class Entry:
    """A manifest in a place, and one of its names.

    ``bundle`` is the bundle that the manifest is, or makes from ``source``. It is None for another artifact, and for
    content that cannot be read, whose ``fault`` says why. ``group`` names the bundles that a policy counts together.
    """

    named: Named
    kind: EntryKind
    group: str = ""
    bundle: Digest | None = None
    source: DeltaSource | None = None
    created: str = ""
    blobs: tuple[Descriptor, ...] = ()
    fault: str = ""

    @property
    def manifest(self) -> Digest:
        return self.named.manifest.digest

    @property
    def shown(self) -> str:
        """The name for messages."""
        return self.named.name or f"@{self.manifest}"


@dataclass(frozen=True)
class RemovedBundle:
    """A removed bundle by its name, or a referrer without a name; ``size`` is the space that it alone used, in bytes."""

    name: str
    digest: Digest
    size: int


@dataclass(frozen=True)
class Leftover:
    """Content of one kind that belongs to no bundle; ``one`` is the singular of ``what``, ``size`` is in bytes."""

    what: str
    one: str
    count: int
    size: int


@dataclass(frozen=True)
class Removed:
    """What was removed, or in a dry run would be."""

    bundles: Sequence[RemovedBundle]
    leftovers: Sequence[Leftover]

    @property
    def size(self) -> int:
        """Return the freed space in bytes."""
        return sum(bundle.size for bundle in self.bundles) + sum(leftover.size for leftover in self.leftovers)


class Removal(Protocol):
    """A removal that is planned, in a place that is locked until it is carried out."""

    def describe(self) -> Removed: ...

    def carry_out(self) -> None:
        """Remove names first, then what only they referred to, such as manifests, signatures and blobs."""
        ...


class Place(Protocol):
    """A place for bundles, of which all names can be seen and changed."""

    where: str
    """The place as the user wrote it, for messages."""

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes of this host from using the place, where it has locks; raises `BusyError`."""
        ...

    def entries(self) -> Sequence[Entry]:
        """Return all names, and the manifests without a name as far as the place lists them."""
        ...

    def find(self, digest: Digest) -> Entry:
        """Return the entry of a manifest that no name refers to; raises `NotFoundError`."""
        ...

    def removal(self, entries: Sequence[Entry], going: Sequence[Entry], *, sweep: bool) -> Removal:
        """Plan to remove some of the entries, and what refers to bundles that go; with ``sweep`` also what no bundle needs."""
        ...

    def untag(self, entries: Sequence[Entry]) -> None:
        """Remove tags; their bundles stay. Raises `StoreError` where the place cannot do that."""
        ...

    def set_tag(self, entry: Entry, tag: str) -> Displaced | None:
        """Give a bundle a tag; returns the bundle that had it."""
        ...
