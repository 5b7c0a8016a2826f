"""``fps-bundle untag``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import options, place


def untag(
    refs: place.References,
    yes: place.Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show which tags would be removed, and remove none.")] = False,
    timeout: options.Timeout = 60,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Remove tags, and keep their bundles, which can still be named by their digests.

    `prune` deletes bundles without a tag later. A registry without the deletion of single tags refuses this (exit code 5).
    """
    from bundler.cli import console, wiring
    from bundler.verbs import names

    with console.Terminal(quiet=quiet) as terminal:
        store, wanted = place.opened(refs, wiring.Link(plain_http, timeout=timeout, terminal=terminal))
        wanted = place.confirmed(store, wanted, "untag", terminal, asks=not (yes or dry_run))
        entries = names.untag(store, wanted, dry_run=dry_run)
    if json:
        tags = [{"name": entry.named.name, "digest": str(entry.manifest)} for entry in entries]
        console.result_json({"tags": tags, "dryRun": dry_run})
        return
    console.result_table(("name", "digest"), [(entry.named.name, str(entry.manifest)) for entry in entries])
