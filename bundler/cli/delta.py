"""What ``copy`` sends: a bundle, a delta as it is, or a new delta."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.api import stores
from bundler.bundle import Bundle, read_bundle
from bundler.cli import have, wiring
from bundler.cli.console import counted, size
from bundler.errors import NotFoundError, UsageError
from bundler.format.delta_manifest import DeltaManifest
from bundler.format.reference import LocalReference, parse
from bundler.ports import Store
from bundler.stores.delta.new import NewDeltaStore
from bundler.stores.delta.store import DeltaStore
from bundler.stores.layout.local import LocalSpool, LocalStore
from bundler.verbs import verify

if TYPE_CHECKING:
    from bundler.api.stores import StoreOptions
    from bundler.cli.console import Terminal


@contextmanager
def prepared(
    bundle: Bundle, origin: Store, delta_from: str | None, store_options: StoreOptions, terminal: Terminal, *, whole: bool
) -> Iterator[tuple[Store, DeltaManifest | None]]:
    """Give the store to copy from, and the delta to copy in place of the bundle, if any.

    ``delta_from`` names the source of a new delta. Without it a delta is copied as it is, unless the bundle is wanted ``whole``.
    """
    if delta_from is None:
        if isinstance(origin, DeltaStore) and origin.delta and not whole:
            yield stores.containing_store(origin.inner), origin.delta
        else:
            yield stores.containing_store(origin), None
        return
    from bundler.verbs import delta  # needs numpy, which is slow to import

    with ExitStack() as opened:
        source, source_store = _source(bundle, delta_from, store_options, opened)
        if source.digest == bundle.digest:
            raise UsageError(f"{delta_from} is the bundle that would be sent: the other host has it already")
        spool = LocalSpool()
        readable = opened.enter_context(verify.readable_bundle(bundle, origin, spool, terminal))
        source_readable = opened.enter_context(verify.readable_bundle(source, source_store, spool, terminal))
        new = opened.enter_context(delta.made(bundle, readable, source, source_readable, spool, terminal))
        if new.manifest.size >= bundle.manifest.size:
            terminal.warn(f"a delta from {delta_from} would not be smaller: sending the whole bundle")
            yield readable, None
            return
        terminal.say(f"the delta from {delta_from} has {size(new.manifest.size)}, the whole bundle {size(bundle.manifest.size)}")
        if new.refused:
            terminal.say(f"{counted(len(new.refused), 'layer')} sent whole, because a delta of it would not be smaller")
        yield NewDeltaStore(readable, new.made), new.manifest


def _source(bundle: Bundle, delta_from: str, store_options: StoreOptions, opened: ExitStack) -> tuple[Bundle, Store]:
    """Return the bundle of a reference, or of a list the one that is here and has most layers of ``bundle``."""
    if not have.is_list(delta_from):
        store = opened.enter_context(wiring.opened(parse(delta_from), store_options))
        return read_bundle(store), store
    wanted = {had.digest for had in have.read_list(Path(delta_from))}
    if bundle.digest in wanted:
        return bundle, LocalStore(LocalReference(""))
    local = LocalStore(LocalReference(""))
    candidates = [read_bundle(local, named.manifest) for named in local.names() if named.manifest.digest in wanted]
    if not candidates:
        raise NotFoundError(
            f"none of the bundles of {delta_from} is in the local store",
            hint="Copy one of them here, or send the whole bundle without --delta-from.",
        )
    layers = {layer.diff_id for layer in bundle.metadata.layers}

    def likeness(found: Bundle) -> tuple[int, str]:
        return len(layers & {layer.diff_id for layer in found.metadata.layers}), found.metadata.created

    return max(candidates, key=likeness), local
