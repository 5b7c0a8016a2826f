"""``fps-bundle copy``"""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli import options, parts

if TYPE_CHECKING:
    from bundler.console import Terminal
    from bundler.ports import Store
    from bundler.transfer import CopyResult


def copy(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    dest: Annotated[
        str, typer.Argument(help="Where it goes: a registry, oci:DIR:TAG, FILE.tar, - for a pipe, or NAME:TAG of the local store.")
    ],
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
    with parts.opened(origin, plain_http=plain_http) as origin_store, console.Terminal(quiet=quiet) as terminal:
        bundle = transfer.read_bundle(origin_store)
        target = parts.open_store(destination, plain_http=plain_http)
        result = transfer.copy(origin_store, target, terminal, bundle)
    piped = isinstance(destination, reference.ArchiveReference) and destination.is_pipe
    with redirect_stdout(sys.stderr) if piped else nullcontext():
        _tell(result, target, terminal, json=json)


def _tell(result: CopyResult, target: Store, terminal: Terminal, *, json: bool) -> None:
    from bundler import console

    digest = str(result.bundle.digest)
    if json:
        console.result_json({"digest": digest, "reference": target.where, "sent": result.sent, "skipped": result.skipped})
        return
    there = f", {console.size(result.skipped)} were there already" if result.skipped else ""
    terminal.say(f"copied to {target.where}: sent {console.size(result.sent)}{there}")
    console.result(digest)
