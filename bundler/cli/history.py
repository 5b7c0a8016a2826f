"""``fps-bundle history``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import option_groups, options


def history(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    parts_from: options.PartsFrom = None,
    *,
    registry: option_groups.Connection,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show the bundles that a model descends from, newest first.

    The list is recorded in the bundle itself, so the earlier bundles need not be available.
    """
    from bundler.bundle import read_bundle
    from bundler.cli import console, wiring
    from bundler.format import reference

    with wiring.opened(reference.parse(source), registry.store_options(), parts_from) as store:
        bundle = read_bundle(store)
    lineage = [(str(bundle.digest), bundle.metadata.created)]
    lineage += [(str(ancestor.digest), ancestor.created) for ancestor in bundle.metadata.lineage]
    if json:
        console.result_json([{"digest": digest, "created": created} for digest, created in lineage])
        return
    console.result_table(("digest", "created"), lineage)
