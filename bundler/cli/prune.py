"""``fps-bundle prune``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli import options

if TYPE_CHECKING:
    from bundler.cli.wiring import Link
    from bundler.ports import Removed
    from bundler.verbs.retention import Kept, Policy, Pruned

_Where = Annotated[
    str | None,
    typer.Argument(help="A NAME in the local store, oci:DIR, or REGISTRY/REPOSITORY. Default: the whole local store."),
]
_Keep = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, help="Without a policy: number of bundles to keep for each name, newest first. Default: 3."),
]
_Last = Annotated[int | None, typer.Option("--keep-last", metavar="N", min=1, help="Keep the newest N bundles of each name.")]
_Daily = Annotated[
    int | None,
    typer.Option("--keep-daily", metavar="N", min=1, help="Keep the newest bundle of each of the last N days with a bundle."),
]
_Weekly = Annotated[
    int | None, typer.Option("--keep-weekly", metavar="N", min=1, help="The same for weeks, from Monday to Sunday.")
]
_Monthly = Annotated[int | None, typer.Option("--keep-monthly", metavar="N", min=1, help="The same for months.")]
_Tags = Annotated[
    list[str] | None, typer.Option("--keep-tag", metavar="PATTERN", help="Also keep bundles with such a tag. Repeatable.")
]


def prune(
    where: _Where = None,
    keep: _Keep = None,
    keep_last: _Last = None,
    keep_daily: _Daily = None,
    keep_weekly: _Weekly = None,
    keep_monthly: _Monthly = None,
    keep_tag: _Tags = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")] = False,
    timeout: options.Timeout = 60,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Delete old bundles, and content that no bundle needs.

    Without a policy only untagged bundles are deleted, except the newest of each name. With --keep-last, --keep-daily,
    --keep-weekly or --keep-monthly, every bundle that none of them keeps is deleted, with its tags and signatures.
    Days, weeks and months are those of UTC. Sources of deltas that are kept stay.

    Also deletes partial downloads, and records of uploads that were interrupted more than a week ago. Deletes nothing while
    another fps-bundle uses the place, or when a bundle to keep cannot be read.
    """
    from bundler.cli import console, wiring
    from bundler.verbs.retention import Policy

    policy = Policy(
        keep_last or 0, keep_daily or 0, keep_weekly or 0, keep_monthly or 0, tuple(keep_tag or ()), 3 if keep is None else keep
    )
    _check(policy, keep)
    with console.Terminal(quiet=quiet) as terminal:
        link = wiring.Link(plain_http, timeout=timeout, terminal=terminal)
        place, pruned = _pruned(where, policy, link, dry_run=dry_run)
    if json:
        console.result_json(_as_json(pruned, dry_run=dry_run))
        return
    if policy.has_rules:
        terminal.table(("kept", "created", "because"), [_row(it) for it in pruned.kept])
    console.result_table(("what", "digest", "size"), _rows(pruned.removed))
    terminal.say(f"{'would free' if dry_run else 'freed'} {console.size(pruned.removed.size)} in {place}")


def _check(policy: Policy, keep: int | None) -> None:
    from bundler.errors import UsageError

    if policy.has_rules and keep is not None:
        raise UsageError("--keep is for a prune without a policy", hint="Use --keep-last.")
    if policy.tags and not policy.has_rules:
        raise UsageError("--keep-tag needs a policy, such as --keep-last", hint="Without a policy all tags are kept.")


def _pruned(where: str | None, policy: Policy, link: Link, *, dry_run: bool) -> tuple[str, Pruned]:
    """Prune a place; returns its name for messages."""
    from bundler.api import stores
    from bundler.errors import UsageError
    from bundler.format import reference
    from bundler.format.reference import LocalReference
    from bundler.stores.layout import prune as local
    from bundler.verbs import names, retention

    if where is None and not policy.has_rules:
        return "the local store", retention.Pruned(local.prune(policy.untagged, dry_run=dry_run), ())
    parsed = reference.parse(where) if where else LocalReference("")
    if where:
        names.check_place(parsed, where)
        if reference.is_exact(where, parsed):
            raise UsageError(f"{where[:200]!r} is one bundle", hint="Remove it with fps-bundle rm, or leave out its tag.")
    place = stores.open_place(names.place_of(parsed), link.store_options)
    group = parsed.name if isinstance(parsed, LocalReference) else ""
    return where or "the local store", retention.prune(place, policy, group, dry_run=dry_run)


def _row(kept: Kept) -> tuple[str, str, str]:
    return ", ".join(kept.names) or f"@{kept.digest}", kept.created or "-", ", ".join(kept.reasons)


def _rows(removed: Removed) -> list[tuple[str, str, str]]:
    from bundler.cli import console

    rows = [(it.name or "-", str(it.digest), console.size(it.size)) for it in removed.bundles]
    return rows + [(console.counted(it.count, it.one, it.what), "-", console.size(it.size)) for it in removed.leftovers]


def _as_json(pruned: Pruned, *, dry_run: bool) -> dict[str, Any]:
    removed = pruned.removed
    return {
        "bundles": [{"name": it.name or None, "digest": str(it.digest), "size": it.size} for it in removed.bundles],
        "leftovers": [{"what": it.what, "count": it.count, "size": it.size} for it in removed.leftovers],
        "kept": [
            {"names": list(it.names), "digest": str(it.digest), "created": it.created, "reasons": list(it.reasons)}
            for it in pruned.kept
        ],
        "size": removed.size,
        "dryRun": dry_run,
    }
