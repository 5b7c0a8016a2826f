"""``fps-bundle copy``"""

from __future__ import annotations

import sys
from contextlib import ExitStack, nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli import option_groups, options

if TYPE_CHECKING:
    from bundler.cli.console import Terminal
    from bundler.ports import Store
    from bundler.verbs.copy import CopyResult

_Dest = Annotated[
    str, typer.Argument(help="The destination: a registry, oci:DIR:TAG, FILE.tar, - for a pipe, or NAME:TAG in the local store.")
]
_Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="SIZE",
        help="Split into parts: fat32, dvd, bd or 4GiB for media, 4MiB for a registry behind an unreliable link.",
    ),
]
_Have = Annotated[
    list[str] | None,
    typer.Option(
        "--have",
        metavar="REF|FILE|LIST",
        help="Leave out blobs of a bundle that the other host has, or of a list that `list --have` printed there. Repeatable.",
    ),
]


_DeltaFrom = Annotated[
    str | None,
    typer.Option(
        "--delta-from",
        metavar="REF|LIST",
        help="Send only the differences from a bundle that the other host has, or from one of a list of `list --have`.",
    ),
]
_Rebuild = Annotated[bool, typer.Option("--rebuild", help="If the source is a delta, send the whole bundle that it makes.")]


def copy(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    dest: _Dest,
    split: _Split = None,
    part: options.Part = None,
    have: _Have = None,
    delta_from: _DeltaFrom = None,
    rebuild: _Rebuild = False,
    parts_from: options.PartsFrom = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")] = False,
    verify_written: options.VerifyWritten = None,
    *,
    trust: option_groups.Trust,
    registry: option_groups.Transfer,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Copy a bundle between stores: registries, OCI layouts, archive files and the local store.

    The bundle keeps its digest and its signatures. Blobs that the destination already has are not sent again.
    --delta-from sends the bundle as its differences from another one: every command reads this delta as the
    bundle, on a host that has the other one. A delta is copied as it is, or rebuilt for the local store and --rebuild.

    A copy into the local store verifies the signatures by trust.toml, and every layer. A copy between other stores
    checks the digests of blobs, and does not decompress layers. Prints the bundle's digest.
    """
    from bundler.api import verbs
    from bundler.bundle import read_bundle
    from bundler.cli import console, delta, destination, signatures, wiring
    from bundler.cli import dry_run as dry_run_report
    from bundler.format import reference
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs.copy import CopyResult
    from bundler.verbs.verify import readable_bundle

    admission = signatures.admission(trust)
    target = destination.parse(
        wiring.destination(dest), split=split, only=part or (), have=have or (), delta=delta_from is not None
    )
    with console.Terminal(quiet=quiet) as terminal, ExitStack() as opened:
        store_options = registry.store_options(terminal, verify_written=verify_written)
        origin = opened.enter_context(wiring.opened(reference.parse(source), store_options, parts_from))
        bundle = read_bundle(origin)
        whole = rebuild or target.is_local or bool(have)
        origin, sent = opened.enter_context(delta.prepared(bundle, origin, delta_from, store_options, terminal, whole=whole))
        store = target.open(store_options, terminal)
        if target.reads_twice and not dry_run:
            origin = opened.enter_context(readable_bundle(bundle, origin, LocalSpool(), terminal))
        run = verbs.plan_copy if dry_run else verbs.copy
        result = run(origin, store, admission=admission, bundle=bundle, delta=sent, progress=terminal)
    with redirect_stdout(sys.stderr) if target.is_pipe else nullcontext():
        if isinstance(result, CopyResult):
            _report(result, store, terminal, json=json)
        else:
            dry_run_report.show(result, store.where, store_options.rate, terminal, json=json, in_parts=target.reads_twice)


def _report(result: CopyResult, target: Store, terminal: Terminal, *, json: bool) -> None:
    from bundler.cli import console, displacement

    digest = str(result.bundle.digest)
    if json:
        transfer = {"sent": result.sent, "skipped": result.skipped, "displaced": displacement.as_json(result.displaced)}
        delta = result.delta.to_json() if result.delta else None
        console.result_json({"digest": digest, "reference": target.where, **transfer, "delta": delta})
        return
    skipped = f", skipped {console.size(result.skipped)} that existed already" if result.skipped else ""
    terminal.say(f"copied to {target.where}: sent {console.size(result.sent)}{skipped}")
    displacement.tell(target.where, result.displaced, terminal)
    console.result(digest)
