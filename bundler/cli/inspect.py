"""``fps-bundle inspect``"""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli import options

if TYPE_CHECKING:
    from bundler.bundle import Bundle
    from bundler.ports import Store


def inspect(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    files: Annotated[
        bool, typer.Option("--files", help="List its files in place of all else: mode, owner, size, time, sha256, path.")
    ] = False,
    allowed_signers: options.AllowedSigners = None,
    revoked: options.Revoked = None,
    parts_from: options.PartsFrom = None,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show what a bundle is: whose state, from where, on which base, in which layers, and who signed it.

    Also shows what the applied image runs, and which of these settings differ from the base as the bundle describes it; `apply`
    compares them with the base image itself.

    With --files: all that it holds, as one tree in the order of a walk, and as `deleted` what it takes away from the base.
    Little more than the tables of contents of its layers is fetched; a layer without one, as older bundles have it, is read itself.
    """
    from bundler.api import trust, verbs
    from bundler.bundle import read_bundle
    from bundler.cli import console, wiring
    from bundler.cli import signatures as presented
    from bundler.cli.bundle_tree import bundle_tree
    from bundler.format import reference

    with wiring.opened(reference.parse(source), wiring.Link(plain_http), parts_from) as store:
        bundle = read_bundle(store)
        if files:
            _list(bundle, store, json=json)
            return
        inspected = verbs.inspect(store, policy=trust.load_policy(allowed_signers, revoked), bundle=bundle)
    if json:
        console.result_json(
            {
                "reference": store.where,
                "digest": str(bundle.digest),
                "size": bundle.manifest.size,
                "manifest": jsonlib.loads(bundle.manifest.data),
                "metadata": jsonlib.loads(bundle.metadata.to_bytes()),
                "settings": [change.to_json() for change in inspected.changes],
                "signatures": [presented.as_json(signature) for signature in inspected.signatures],
            }
        )
        return
    console.result_tree(bundle_tree(store.where, bundle, [presented.describe(signature) for signature in inspected.signatures]))


def _list(bundle: Bundle, store: Store, *, json: bool) -> None:
    from bundler.cli import console, file_rows
    from bundler.verbs import listing as verb

    found = verb.tree(bundle, store, console.Terminal())
    if json:
        before = {"reference": store.where, "digest": str(bundle.digest)}
        console.result_json_list(before, "files", map(file_rows.as_json, found))
    else:
        console.result_rows(file_rows.WIDTHS, map(file_rows.row, found))
