"""``fps-bundle list``"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli import option_groups, options

if TYPE_CHECKING:
    from bundler.format.reference import Reference
    from bundler.ports import Named


def list(
    where: Annotated[
        str | None,
        typer.Argument(
            help="A registry's repository, oci:DIR, FILE.tar, or NAME in the local store. With a tag or digest: only that bundle. "
            "Default: the whole local store."
        ),
    ] = None,
    have: Annotated[bool, typer.Option("--have", help="Print a list for `copy --have` on another host.")] = False,
    parts_from: options.PartsFrom = None,
    *,
    registry: option_groups.Connection,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the bundles of a store.

    The exit code is 6 when the store has no bundle with the given name, tag or digest.
    """
    from bundler.bundle import list_bundles
    from bundler.cli import console, wiring
    from bundler.format import reference, thin_list
    from bundler.verbs.have import had

    named = reference.parse(where) if where else reference.LocalReference("")
    with wiring.opened(named, registry.store_options(), parts_from) as store:
        chosen = _chosen(store.names(), named, where) if where else None
        bundles = list_bundles(store, chosen)
        if have:
            sys.stdout.write(thin_list.write([had(name, manifest, store) for name, manifest in bundles]).decode())
            return
    if json:
        console.result_json(
            [
                {
                    "name": name,
                    "digest": str(manifest.descriptor.digest),
                    "size": manifest.size,
                    "annotations": dict(manifest.annotations),
                }
                for name, manifest in bundles
            ]
        )
        return
    rows = [
        (
            name,
            str(manifest.descriptor.digest),
            console.size(manifest.size),
            manifest.annotations.get("org.opencontainers.image.created", "-"),
        )
        for name, manifest in bundles
    ]
    console.result_table(("name", "digest", "size", "created"), rows)


def _chosen(names: Sequence[Named], named: Reference, where: str) -> Sequence[Named]:
    """Return the entries of a store that match a digest or tag, or in the local store a name without a tag."""
    from bundler.errors import NotFoundError
    from bundler.format import reference

    exact, chosen = reference.is_exact(where, named), names
    if isinstance(named, reference.LocalReference):
        chosen = [it for it in chosen if reference.without_tag(it.name) == named.name]
    if named.digest:
        chosen = [it for it in chosen if it.manifest.digest == named.digest]
    elif exact:
        tag = str(named) if isinstance(named, reference.LocalReference) else named.tag
        chosen = [it for it in chosen if it.name == tag]
    if not chosen and (exact or isinstance(named, reference.LocalReference)):
        available = ", ".join(sorted(it.name for it in names if it.name)[:20]) or "no bundles"
        raise NotFoundError(f"{where}: no such bundle", hint=f"Available: {available}")
    return chosen
