"""``fps-bundle inspect``"""

from __future__ import annotations

import json as jsonlib
from typing import Annotated

import typer

from bundler.cli import options


def inspect(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    allowed_signers: options.AllowedSigners = None,
    revoked: options.Revoked = None,
    parts_from: options.PartsFrom = None,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show what a bundle is: whose state, from where, on which base, in which layers, and who signed it."""
    from bundler import console, signing
    from bundler.cli import gate, parts
    from bundler.cli.bundletree import bundle_tree
    from bundler.format import reference
    from bundler.transfer import read_bundle

    with parts.opened(reference.parse(source), parts.Link(plain_http), parts_from) as store:
        bundle = read_bundle(store)
        signatures = signing.find(bundle, store, gate.verifier(gate.Gate(allowed_signers, revoked).policy()))
    if json:
        console.result_json(
            {
                "reference": store.where,
                "digest": str(bundle.digest),
                "size": bundle.manifest.size,
                "manifest": jsonlib.loads(bundle.manifest.data),
                "metadata": jsonlib.loads(bundle.metadata.to_bytes()),
                "signatures": [gate.as_json(signature) for signature in signatures],
            }
        )
        return
    console.result_tree(bundle_tree(store.where, bundle, [gate.described(signature) for signature in signatures]))
