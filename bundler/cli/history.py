"""``fps-bundle history``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import options


def history(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    parts_from: options.PartsFrom = None,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show the line of bundles that a model came from, newest first.

    The line is written in the bundle itself, so the earlier ones need not be at hand.
    """
    from bundler.bundle import read_bundle
    from bundler.cli import console, wiring
    from bundler.format import reference

    with wiring.opened(reference.parse(source), wiring.Link(plain_http), parts_from) as store:
        bundle = read_bundle(store)
    line = [(str(bundle.digest), bundle.metadata.created)]
    line += [(str(ancestor.digest), ancestor.created) for ancestor in bundle.metadata.lineage]
    if json:
        console.result_json([{"digest": digest, "created": created} for digest, created in line])
        return
    console.result_table(("digest", "made"), line)
