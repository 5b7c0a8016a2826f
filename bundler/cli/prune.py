"""``fps-bundle prune``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import options


def prune(
    keep: Annotated[int, typer.Option(metavar="N", min=0, help="Number of bundles to keep for each name, newest first.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Delete old untagged bundles and unreferenced blobs from the local store.

    Bundles with a tag are kept, and the newest bundles of each name. Also deletes partial downloads, and records of uploads
    that were interrupted more than a week ago. Deletes nothing while another fps-bundle uses the store, or when a bundle to
    keep cannot be read.
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
    terminal.say(f"{'would free' if dry_run else 'freed'} {console.size(pruned.size)} in the local store")
