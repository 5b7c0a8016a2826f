"""Open stores by their references."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from bundler.errors import NotFoundError, UsageError
from bundler.format.reference import ArchiveReference, LayoutReference, LocalReference, Reference, RegistryReference, parse
from bundler.stores.registry.limits import Limits
from bundler.streams import NULL_PROGRESS, Progress

if TYPE_CHECKING:
    from bundler.format.content import Descriptor
    from bundler.format.delta_manifest import DeltaSource
    from bundler.ports import ImageLookup, Place, Store
    from bundler.stores.archive.store import ArchiveStore
    from bundler.stores.delta.store import DeltaStore
    from bundler.stores.layout.store import LayoutStore
    from bundler.verbs.push_destination import RemoteTarget


class RegistryOptions(TypedDict):
    """How to reach a registry, in the words of `RegistryStore`."""

    plain_http: bool
    limits: Limits
    tell: Callable[[str], None]


@dataclass(frozen=True)
class StoreOptions:
    """How stores are read and written. ``rate`` is in bytes per second, ``timeout`` in seconds."""

    plain_http: bool = False
    rate: int | None = None
    parallel: int = Limits.parallel
    timeout: float = Limits.timeout
    verify_written: bool | None = None
    """Whether written content is read back; by default in files and layouts, but not in registries."""
    progress: Progress = NULL_PROGRESS

    @property
    def verify_files(self) -> bool:
        """Whether content that is written to a file or layout is read back."""
        return self.verify_written is not False


def open_store(reference: str, options: StoreOptions | None = None) -> Store:
    """Open the store of a reference such as ``registry.example/team/detector:7``, ``oci:DIR:7``, ``FILE.tar`` or ``detector:7``.

    The store is opened for the bundle that the reference names, for reading and writing. Thin bundles are completed from the
    local store, and split bundles are read like any other. Raises `UsageError` for an invalid reference and for a pipe.
    """
    parsed, options = parse(reference), options or StoreOptions()
    if isinstance(parsed, ArchiveReference) and parsed.is_pipe:
        raise UsageError("the library cannot open a pipe", hint="Use a file, a layout, a registry or the local store.")
    return open_readable(parsed, options)


def open_plain(reference: Reference, options: StoreOptions) -> Store:
    """Open a store to write to, or to read what it contains itself."""
    if isinstance(reference, LocalReference):
        from bundler.stores.layout.local import LocalStore

        return LocalStore(reference)
    if isinstance(reference, LayoutReference):
        return _open_layout(reference, options)
    if isinstance(reference, ArchiveReference) and reference.is_pipe:
        from bundler.stores.archive.pipe import PipeStore

        return PipeStore(sys.stdout.fileno(), reference.tag, reference.digest)
    if isinstance(reference, ArchiveReference):
        return _open_archive(reference, options)
    return _open_registry(reference, options)


def open_readable(reference: Reference, options: StoreOptions, parts_from: Sequence[Path] = ()) -> Store:
    """Open a store whose bundles are complete: deltas from their sources, thin ones from the local store, split ones from parts."""
    if isinstance(reference, ArchiveReference):
        archive = _open_archive(reference, options, parts_from)
        return _with_deltas(completed(archive, archive.holds), reference, options)
    if isinstance(reference, LayoutReference):
        layout = _open_layout(reference, options)
        return _with_deltas(completed(layout, layout.holds), reference, options)
    if isinstance(reference, RegistryReference):
        return _with_deltas(_open_split(reference, options), reference, options)
    return open_plain(reference, options)


@contextmanager
def opened(reference: Reference, options: StoreOptions, parts_from: Sequence[Path] = ()) -> Iterator[Store]:
    """Open a store to read from, during the block; for a pipe the archive on standard input."""
    if not (isinstance(reference, ArchiveReference) and reference.is_pipe):
        store = open_readable(reference, options, parts_from)
        with store if isinstance(store, AbstractContextManager) else nullcontext():
            yield store
        return
    from bundler.stores.archive import pipe

    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal, not an archive", hint="Send one: … | fps-bundle … -, or … - < FILE.")
    with (
        pipe.received(sys.stdin.buffer, reference.tag, reference.digest) as received,
        _with_deltas(completed(received, received.holds), reference, options) as store,
    ):
        yield store


def open_place(reference: Reference, options: StoreOptions) -> Place:
    """Open the place of a reference to remove bundles there, or to give one of them the tag of the reference."""
    if isinstance(reference, LocalReference):
        from bundler.stores.layout.local import LocalStore, directory

        if not directory().is_dir():
            raise NotFoundError(f"there is no local store: {directory()}", hint="Push or copy a bundle into it first.")
        local = LocalStore(reference)
        local.where = "the local store"
        return local
    if isinstance(reference, LayoutReference):
        from bundler.stores.layout.removable import RemovableLayout

        return RemovableLayout(Path(reference.path), where=f"oci:{reference.path}")
    if isinstance(reference, RegistryReference):
        from bundler.stores.registry.repository import Repository

        repository = Repository(reference, **registry_options(options))
        repository.where = f"{reference.registry}/{reference.repository}"
        return repository
    raise UsageError(
        f"{reference} is an archive, which is never changed in place", hint="Name a layout, a registry or the local store."
    )


def completed(store: Store, holds: Callable[[Descriptor], bool]) -> Store:
    """Return a store that reads the blobs that its thin bundles omit from the local store."""
    from bundler.stores.archive.thin import WholeStore
    from bundler.stores.layout.local import LocalStore

    return WholeStore(store, holds, lambda: LocalStore(LocalReference("")))


def push_target(reference: Reference, options: StoreOptions, *, delta: bool = False) -> RemoteTarget | LocalReference:
    """Open the destination of a push, of differences with ``delta``; the local store stays a name, as the state is packed there."""
    from bundler.verbs.push_destination import RemoteTarget

    if isinstance(reference, LocalReference):
        if delta:
            raise UsageError(
                "--delta needs another destination than the local store", hint="Push to a registry, a layout or a file."
            )
        return reference
    place = _place(reference) if delta else ""
    return RemoteTarget(open_plain(reference, options), open_readable(reference, options), place)


def _place(reference: Reference) -> str:
    """What the bundles of several pushes have in common: a repository, a layout, or the directory of archives."""
    if isinstance(reference, RegistryReference):
        return f"{reference.registry}/{reference.repository}"
    if isinstance(reference, LayoutReference):
        return f"oci:{Path(reference.path).absolute()}"
    assert isinstance(reference, ArchiveReference)
    return f"oci-archive:{Path(reference.path).absolute().parent}"


def _with_deltas(store: Store, reference: Reference, options: StoreOptions) -> DeltaStore:
    from bundler.api.delta_sources import SourceFinder
    from bundler.stores.delta.store import DeltaStore

    likely = partial(_likely_sources, reference, options) if isinstance(reference, RegistryReference) else None
    return DeltaStore(store, SourceFinder(store, options.progress, likely), reference.digest, options.progress.warn)


def _likely_sources(reference: RegistryReference, options: StoreOptions, source: DeltaSource) -> Sequence[Store]:
    """Open the source of a delta in its repository: by digest, and by the tag that a delta leaves on its source."""
    from bundler.format.delta_manifest import source_tag

    names = replace(reference, digest=source.stored), replace(reference, digest=None, tag=source_tag(source.digest))
    return [_open_split(name, options) for name in names]


def look_for_sources_on(engine: ImageLookup, store: Store) -> None:
    """Let a store find the sources of its deltas also in the applied images of an engine."""
    from bundler.api.delta_sources import SourceFinder
    from bundler.stores.delta.store import DeltaStore

    if isinstance(store, DeltaStore) and isinstance(store.find_source, SourceFinder):
        store.find_source = replace(store.find_source, engine=engine)


def containing_store(store: Store) -> Store:
    """Return the store that contains a bundle, without the readers of deltas and split bundles, so that a registry can mount blobs.

    A delta is read as the bundle that it makes.
    """
    from bundler.stores.archive.split_artifact import SplitStore
    from bundler.stores.delta.store import DeltaStore

    if isinstance(store, DeltaStore):
        return store if store.delta else containing_store(store.inner)
    return store.underlying_store() if isinstance(store, SplitStore) else store


def local_reference(store: Store) -> LocalReference | None:
    """Return the name of a bundle in the local store, or None for another store."""
    from bundler.stores.layout.local import LocalStore

    if not isinstance(store, LocalStore):
        return None
    reference = parse(store.where)
    assert isinstance(reference, LocalReference)
    return reference


def _open_layout(reference: LayoutReference, options: StoreOptions) -> LayoutStore:
    from bundler.stores.layout.store import LayoutStore

    path = Path(reference.path)
    return LayoutStore(path, reference.tag, reference.digest, verify_written=options.verify_files, progress=options.progress)


def _open_archive(reference: ArchiveReference, options: StoreOptions, parts_from: Sequence[Path] = ()) -> ArchiveStore:
    from bundler.stores.archive.store import ArchiveStore

    return ArchiveStore(
        Path(reference.path),
        reference.tag,
        reference.digest,
        verify_written=options.verify_files,
        parts_from=tuple(parts_from),
        progress=options.progress,
    )


def _open_split(reference: RegistryReference, options: StoreOptions) -> Store:
    from bundler.stores.archive.split_artifact import SplitStore

    return SplitStore(_open_registry(reference, options))


def _open_registry(reference: RegistryReference, options: StoreOptions) -> Store:
    from bundler.stores.registry.store import RegistryStore

    return RegistryStore(reference, verify_written=bool(options.verify_written), **registry_options(options))


def registry_options(options: StoreOptions) -> RegistryOptions:
    """Return what everything that speaks to a registry takes beside a reference."""
    limits = Limits(rate=options.rate, parallel=options.parallel, timeout=options.timeout)
    return {"plain_http": options.plain_http, "limits": limits, "tell": options.progress.note}
