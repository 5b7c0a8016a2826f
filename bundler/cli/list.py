"""``fps-bundle list``"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bundler.cli import options


def list(
    where: Annotated[
        str | None, typer.Argument(help="A registry's repository, oci:DIR or FILE.tar. Default: the local store.")
    ] = None,
    have: Annotated[bool, typer.Option("--have", help="Print the list that `copy --have` takes on another host.")] = False,
    parts_from: options.PartsFrom = None,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the bundles of a store."""
    from bundler import console, transfer
    from bundler.cli import parts
    from bundler.format import have as haves
    from bundler.format import reference

    named = reference.parse(where) if where else reference.LocalReference("")
    with parts.opened(named, parts.Link(plain_http), parts_from) as store:
        found = transfer.list_bundles(store)
        if have:
            sys.stdout.write(haves.write([transfer.had(name, manifest, store) for name, manifest in found]).decode())
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
                for name, manifest in found
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
        for name, manifest in found
    ]
    console.result_table(("name", "digest", "size", "made"), rows)
