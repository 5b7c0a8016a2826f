"""``fps-bundle rm``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import options, place


def rm(
    refs: place.References,
    yes: place.Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")] = False,
    timeout: options.Timeout = 60,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Remove bundles, with their signatures and the blobs that only they need.

    A bundle that has another tag, too, loses only the named one. The source of a delta is removed only together
    with that delta. A registry frees the space in its next garbage collection.
    """
    from bundler.cli import console, wiring
    from bundler.verbs import names

    with console.Terminal(quiet=quiet) as terminal:
        store, wanted = place.opened(refs, wiring.Link(plain_http, timeout=timeout, terminal=terminal))
        wanted = place.confirmed(store, wanted, "remove", terminal, asks=not (yes or dry_run))
        removed = names.remove(store, wanted, dry_run=dry_run)
    bundles = [{"name": it.name or None, "digest": str(it.digest), "size": it.size} for it in removed.bundles]
    if json:
        console.result_json({"bundles": bundles, "size": removed.size, "dryRun": dry_run})
        return
    rows = [(it.name or "-", str(it.digest), console.size(it.size)) for it in removed.bundles]
    console.result_table(("name", "digest", "size"), rows)
    terminal.say(f"{'would free' if dry_run else 'freed'} {console.size(removed.size)} in {store.where}")
