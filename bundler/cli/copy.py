"""``fps-bundle copy``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import options, parts


def copy(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    dest: Annotated[str, typer.Argument(help="Where it goes: a registry, oci:DIR:TAG, FILE.tar, or NAME:TAG of the local store.")],
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Copy a bundle from any store to any other.

    To a file for the stick, from the file to a registry, from a registry to the local store: the
    bundle keeps its digest everywhere. What the target has already is not sent again. Prints the digest.
    """
    from bundler import console, transfer
    from bundler.format import reference

    origin, destination = reference.parse(source), reference.parse(dest)
    with console.Terminal(quiet=quiet) as terminal:
        origin_store = parts.open_store(origin, plain_http=plain_http)
        bundle = transfer.read_bundle(origin_store)
        target = parts.open_store(destination, plain_http=plain_http)
        result = transfer.copy(origin_store, target, terminal, bundle)
    if json:
        console.result_json(
            {"digest": str(bundle.digest), "reference": target.where, "sent": result.sent, "skipped": result.skipped}
        )
        return
    there = f", {console.size(result.skipped)} were there already" if result.skipped else ""
    terminal.say(f"copied to {target.where}: sent {console.size(result.sent)}{there}")
    console.result(str(bundle.digest))
