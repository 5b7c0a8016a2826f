"""``fps-bundle prune``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import options


def prune(
    keep: Annotated[int, typer.Option(metavar="N", min=0, help="How many bundles of each name stay, the newest.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, remove nothing.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Remove from the local store what nobody needs any more.

    Of each name the newest bundles stay, and every one that has a tag. Blobs that belong to no bundle go, and so do half
    downloads, and records of uploads that broke off more than a week ago. While another fps-bundle uses the store
    nothing is removed, nor while a bundle that stays cannot be read.
    """
    from bundler.cli import console
    from bundler.stores.layout import prune as store

    with console.Terminal(quiet=quiet) as terminal:
        pruned = store.prune(keep, dry_run=dry_run)
    if json:
        console.result_json(
            {
                "bundles": [{"name": it.name or None, "digest": str(it.digest), "size": it.size} for it in pruned.bundles],
                "leftovers": [{"what": it.what, "count": it.count, "size": it.size} for it in pruned.leftovers],
                "size": pruned.size,
                "dryRun": dry_run,
            }
        )
        return
    rows = [(it.name or "-", str(it.digest), console.size(it.size)) for it in pruned.bundles]
    rows += [(console.counted(it.count, it.one, it.what), "-", console.size(it.size)) for it in pruned.leftovers]
    console.result_table(("what", "digest", "size"), rows)
    terminal.say(f"{console.size(pruned.size)} {'would become' if dry_run else 'became'} free in the local store")
