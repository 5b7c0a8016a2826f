"""``fps-bundle copy``"""

from __future__ import annotations

import sys
from contextlib import ExitStack, nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli import options

if TYPE_CHECKING:
    from bundler.cli.console import Terminal
    from bundler.ports import Store
    from bundler.verbs.copy import CopyResult


def copy(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    dest: Annotated[
        str, typer.Argument(help="Where it goes: a registry, oci:DIR:TAG, FILE.tar, - for a pipe, or NAME:TAG of the local store.")
    ],
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Cut into parts: fat32, dvd, bd or 4GiB for media, 4MiB for a registry behind a link that drops."
        ),
    ] = None,
    part: options.Part = None,
    have: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REF|FILE|LIST",
            help="Leave out what the other side has: a bundle, or what `list --have` printed there; repeatable.",
        ),
    ] = None,
    parts_from: options.PartsFrom = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    verify_written: options.VerifyWritten = None,
    allowed_signers: options.AllowedSigners = None,
    revoked: options.Revoked = None,
    ignore_signatures: options.IgnoreSignatures = False,
    limit_rate: options.LimitRate = None,
    parallel: options.Parallel = 3,
    timeout: options.Timeout = 60,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Copy a bundle from any store to any other.

    To a file for the stick, from the file to a registry, from a registry to the local store: the
    bundle keeps its digest everywhere, and its signatures. What the target has already is not sent again. What comes
    into the local store from elsewhere must be signed as trust.toml says, and its layers are verified; between other
    stores they stay sealed. Prints the digest.
    """
    from bundler.api import stores
    from bundler.bundle import read_bundle
    from bundler.cli import console, destination, signatures, wiring
    from bundler.cli import dry_run as dry_run_report
    from bundler.format import reference
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import copy, verify

    named = reference.parse(source)
    target = destination.parse(wiring.destination(dest), split=split, only=part or (), have=have or ())
    with console.Terminal(quiet=quiet) as terminal, ExitStack() as opened:
        link = wiring.Link(plain_http, limit_rate, parallel, timeout, verify_written, terminal)
        origin = opened.enter_context(wiring.opened(named, link, parts_from))
        bundle = read_bundle(origin)
        comes_in = target.is_local and not isinstance(named, reference.LocalReference)
        if comes_in:
            admission = signatures.admission(allowed_signers, revoked, ignore_signatures)
            admission.admit(bundle, origin, terminal, warn_unconfigured=False)
        origin = stores.containing_store(origin)
        goal = target.open(link, terminal)
        if not dry_run:
            if target.reads_twice:
                origin = opened.enter_context(verify.readable_bundle(bundle, origin, LocalSpool(), terminal))
            if comes_in:
                result = verify.take_in(bundle, origin, goal, LocalSpool(), terminal)
            else:
                result = copy.copy(origin, goal, terminal, bundle)
    with redirect_stdout(sys.stderr) if target.is_pipe else nullcontext():
        if dry_run:
            plan = copy.plan(origin, goal, bundle)
            dry_run_report.show(plan, goal.where, link.rate, terminal, json=json, in_parts=target.part_size is not None)
        else:
            _tell(result, goal, terminal, json=json)


def _tell(result: CopyResult, target: Store, terminal: Terminal, *, json: bool) -> None:
    from bundler.cli import console, displacement

    digest = str(result.bundle.digest)
    if json:
        moved = {"sent": result.sent, "skipped": result.skipped, "displaced": displacement.as_json(result.displaced)}
        console.result_json({"digest": digest, "reference": target.where, **moved})
        return
    there = f", {console.size(result.skipped)} were there already" if result.skipped else ""
    terminal.say(f"copied to {target.where}: sent {console.size(result.sent)}{there}")
    displacement.tell(target.where, result.displaced, terminal)
    console.result(digest)
