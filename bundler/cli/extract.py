"""``fps-bundle extract``"""

from __future__ import annotations

from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli import options

if TYPE_CHECKING:
    from bundler.cli.console import Terminal
    from bundler.verbs.extract import ExtractResult


class OwnerChoice(Enum):
    """Values of --owner."""

    keep = "keep"
    me = "me"


def extract(
    source: Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The target directory. It is created if missing.")],
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH", help="Absolute path in the bundle, with all below it; * ? [ ] and ** as in a shell."),
    ] = None,
    strip: Annotated[
        str, typer.Option(metavar="PREFIX", help="Directory of the bundle whose content goes directly into DIR.")
    ] = "/",
    owner: Annotated[
        OwnerChoice | None,
        typer.Option(help="Keep the recorded owners, by number, or give all to this user. Default: keep for root, else me."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that differ. Directories are never replaced.")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Also remove from DIR what the model deleted of its base, within the wanted paths.")
    ] = False,
    allow_privileged: Annotated[
        bool, typer.Option("--allow-privileged", help="Accept files with setuid, setgid or capabilities.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the bundle and the directory, and show the result; write nothing.")
    ] = False,
    allowed_signers: options.AllowedSigners = None,
    revoked: options.Revoked = None,
    ignore_signatures: options.IgnoreSignatures = False,
    allow_downgrade: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="Accept a bundle that is older than the newest one extracted there. The reason is recorded."
        ),
    ] = None,
    parts_from: options.PartsFrom = None,
    limit_rate: options.LimitRate = None,
    timeout: options.Timeout = 60,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Write the files of a bundle into a directory.

    All files are verified and on the disk before the first one gets its name. Symbolic links below DIR are never followed. Files
    that are there already with the same content and attributes are left alone. Of a bundle in a registry only what is needed
    is fetched. Signatures and rollback protection are those of `apply`; the order of bundles is recorded for DIR.
    """
    from bundler.api import verbs
    from bundler.cli import console, signatures, wiring
    from bundler.format import reference
    from bundler.verbs.extract import ExtractOptions, Owner

    admission = signatures.admission(allowed_signers, revoked, ignore_signatures, allow_downgrade)
    chosen = ExtractOptions(
        tuple(paths or ()),
        strip,
        Owner(owner.value) if owner else None,
        overwrite=overwrite,
        delete=delete,
        allow_privileged=allow_privileged,
        dry_run=dry_run,
    )
    with console.Terminal(quiet=quiet) as terminal, ExitStack() as opened:
        link = wiring.Link(plain_http, limit_rate, timeout=timeout, terminal=terminal)
        store = opened.enter_context(wiring.opened(reference.parse(source), link, parts_from))
        result = verbs.extract(store, directory, admission=admission, options=chosen, progress=terminal)
    if json:
        console.result_json({**_as_json(result), "dryRun": dry_run})
    else:
        _show(result, terminal, dry_run=dry_run)


def _as_json(result: ExtractResult) -> dict[str, Any]:
    return {
        "bundle": str(result.bundle.digest),
        "directory": str(result.directory),
        "files": result.files,
        "links": result.links,
        "directories": result.directories,
        "size": result.size,
        "unchanged": result.unchanged,
        "overwritten": result.overwritten,
        "deleted": result.deleted,
        "skippedAttributes": result.skipped_attributes,
        "newSigners": list(result.new_signers),
    }


def _show(result: ExtractResult, terminal: Terminal, *, dry_run: bool) -> None:
    from bundler.cli import console

    if result.is_unchanged:
        terminal.say(f"{result.directory}: unchanged, all {console.counted(result.unchanged, 'path')} are there already")
    else:
        counts = [
            f"{console.counted(result.files, 'file')} ({console.size(result.size)})",
            console.counted(result.links, "link"),
            console.counted(result.directories, "directory", "directories"),
        ]
        told = f"{', '.join(counts)}; {result.overwritten} replaced, {result.unchanged} unchanged, {result.deleted} deleted"
        terminal.say(f"{result.directory}: {'would write' if dry_run else 'wrote'} {told}")
    console.result(str(result.bundle.digest))
