"""``fps-bundle inspect``"""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli import option_groups, options

if TYPE_CHECKING:
    from bundler.bundle import Bundle
    from bundler.ports import Store


def inspect(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    files: Annotated[bool, typer.Option("--files", help="List only the files: mode, owner, size, time, sha256, path.")] = False,
    *,
    signers: option_groups.Signers,
    parts_from: options.PartsFrom = None,
    registry: option_groups.Connection,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show the properties of a bundle: model, source, base, signatures, settings, layers.

    The settings are the launch settings of the applied image. They are compared with the base as recorded in the bundle;
    `apply` compares them with the base image itself.

    --files lists all files in the order of a tree walk, and files that the bundle deletes from the base as `deleted`. Only
    tables of contents are fetched. Bundles of older versions have none, and their layers are read.
    """
    from bundler.api import trust, verbs
    from bundler.bundle import read_bundle
    from bundler.cli import console, wiring
    from bundler.cli import signatures as presented
    from bundler.cli.bundle_tree import bundle_tree
    from bundler.format import reference
    from bundler.stores.delta.store import DeltaStore

    with wiring.opened(reference.parse(source), registry.store_options(), parts_from) as store:
        bundle = read_bundle(store)
        if files:
            _list(bundle, store, json=json)
            return
        delta = store.delta if isinstance(store, DeltaStore) else None
        inspected = verbs.inspect(store, policy=trust.load_policy(signers.allowed_signers, signers.revoked), bundle=bundle)
    if json:
        console.result_json(
            {
                "reference": store.where,
                "digest": str(bundle.digest),
                "size": bundle.manifest.size,
                "delta": delta.to_json() if delta else None,
                "manifest": jsonlib.loads(bundle.manifest.data),
                "metadata": jsonlib.loads(bundle.metadata.to_bytes()),
                "settings": [change.to_json() for change in inspected.changes],
                "signatures": [presented.as_json(signature) for signature in inspected.signatures],
            }
        )
        return
    signatures = [presented.describe(signature) for signature in inspected.signatures]
    console.result_tree(bundle_tree(store.where, bundle, signatures, delta))


def _list(bundle: Bundle, store: Store, *, json: bool) -> None:
    from bundler.cli import console, file_rows
    from bundler.verbs import listing as verb

    files = verb.tree(bundle, store, console.Terminal())
    if json:
        header = {"reference": store.where, "digest": str(bundle.digest)}
        console.result_json_list(header, "files", map(file_rows.as_json, files))
    else:
        console.result_rows(file_rows.WIDTHS, map(file_rows.row, files))
