"""``fps-bundle extract``"""

from __future__ import annotations

from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli import option_groups, options

if TYPE_CHECKING:
    from bundler.cli.console import Terminal
    from bundler.verbs.extract import ExtractResult


class OwnerChoice(Enum):
    """Values of --owner."""

    keep = "keep"
    me = "me"


Source = Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle.")]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The target directory. It is created if missing.")]
Paths = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATH", help="Absolute path in the bundle, with all below it; * ? [ ] and ** as in a shell."),
]
Strip = Annotated[str, typer.Option(metavar="PREFIX", help="Directory of the bundle whose content goes directly into DIR.")]
OwnerOption = Annotated[
    OwnerChoice | None,
    typer.Option(help="Keep the recorded owners, by number, or give all to this user. Default: keep for root, else me."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that differ. Directories are never replaced.")]
IfEmpty = Annotated[
    bool, typer.Option("--if-empty", help="Do nothing if DIR has files already, such as those of an earlier start of a pod.")
]
Delete = Annotated[
    bool, typer.Option("--delete", help="Also remove from DIR what the model deleted of its base, within the wanted paths.")
]
AllowPrivileged = Annotated[bool, typer.Option("--allow-privileged", help="Accept files with setuid, setgid or capabilities.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the bundle and the directory, and show the result; write nothing.")]
AllowDowngrade = Annotated[
    str | None,
    typer.Option(
        metavar="REASON", help="Accept a bundle that is older than the newest one extracted there. The reason is recorded."
    ),
]


def extract(
    source: Source,
    directory: Directory,
    paths: Paths = None,
    strip: Strip = "/",
    owner: OwnerOption = None,
    overwrite: Overwrite = False,
    if_empty: IfEmpty = False,
    delete: Delete = False,
    allow_privileged: AllowPrivileged = False,
    dry_run: DryRun = False,
    *,
    trust: option_groups.Trust,
    allow_downgrade: AllowDowngrade = None,
    parts_from: options.PartsFrom = None,
    registry: option_groups.Network,
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

    admission = signatures.admission(trust, allow_downgrade)
    chosen = ExtractOptions(
        tuple(paths or ()),
        strip,
        Owner(owner.value) if owner else None,
        overwrite=overwrite,
        if_empty=if_empty,
        delete=delete,
        allow_privileged=allow_privileged,
        dry_run=dry_run,
    )
    with console.Terminal(quiet=quiet) as terminal, ExitStack() as opened:
        store_options = registry.store_options(terminal)
        store = opened.enter_context(wiring.opened(reference.parse(source), store_options, parts_from))
        result = verbs.extract(store, directory, admission=admission, options=chosen, progress=terminal)
    if json:
        console.result_json({**_as_json(result), "dryRun": dry_run})
    else:
        _show(result, terminal, dry_run=dry_run)


def _as_json(result: ExtractResult) -> dict[str, Any]:
    return {
        "bundle": str(result.bundle.digest) if result.bundle else None,
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

    if result.bundle is None:
        terminal.say(f"{result.directory}: has files already, nothing was extracted")
        return
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
