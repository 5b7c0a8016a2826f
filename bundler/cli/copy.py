"""``fps-bundle copy``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import gate, options, parts


def copy(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    dest: Annotated[str, typer.Argument(help="Where it goes: a registry, oci:DIR:TAG, FILE.tar, or NAME:TAG of the local store.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    verify_remote: options.VerifyRemote = False,
    allowed_signers: options.AllowedSigners = None,
    revoked: options.Revoked = None,
    skip_verify: options.SkipVerify = False,
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
    into the local store from elsewhere must be signed as trust.toml says. Prints the digest.
    """
    from bundler import console, transfer
    from bundler.cli import planned
    from bundler.format import reference

    origin, destination = reference.parse(source), reference.parse(dest)
    comes_in = isinstance(destination, reference.LocalReference) and not isinstance(origin, reference.LocalReference)
    with console.Terminal(quiet=quiet) as terminal:
        link = parts.Link(plain_http, limit_rate, parallel, timeout, verify_remote, terminal)
        origin_store = parts.open_store(origin, link)
        bundle = transfer.read_bundle(origin_store)
        if comes_in:
            gate.Gate(allowed_signers, revoked, skip_verify).admit(bundle, origin_store, terminal, silent=True)
        target = parts.open_store(destination, link)
        if not dry_run:
            result = transfer.copy(origin_store, target, terminal, bundle)
    if dry_run:
        planned.show(transfer.plan(origin_store, target, bundle), target.where, link.rate, terminal, json=json)
        return
    if json:
        console.result_json(
            {"digest": str(bundle.digest), "reference": target.where, "sent": result.sent, "skipped": result.skipped}
        )
        return
    there = f", {console.size(result.skipped)} were there already" if result.skipped else ""
    terminal.say(f"copied to {target.where}: sent {console.size(result.sent)}{there}")
    console.result(str(bundle.digest))
