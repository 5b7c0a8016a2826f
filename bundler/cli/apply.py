"""``fps-bundle apply``"""

from __future__ import annotations

from contextlib import ExitStack
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli import apply_to, options

if TYPE_CHECKING:
    from bundler.cli.console import Terminal
    from bundler.verbs.apply import ApplyResult


class BaseMatch(Enum):
    """Values of --base-match."""

    exact = "exact"
    version = "version"


def apply(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    to: apply_to.To = None,
    base: apply_to.BaseName = None,
    base_match: Annotated[
        BaseMatch, typer.Option(help="Accept only the recorded base, or any image with the same title, version and vendor.")
    ] = BaseMatch.exact,
    tag: Annotated[
        str | None,
        typer.Option(metavar="NAME:TAG", help="Tag of the new image. Default: the base's repository, the version and the digest."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Move the tag also if it names an image that fps-bundle did not make.")
    ] = False,
    layer_compression: apply_to.LayerCompressionName = None,
    tag_previous: apply_to.TagPrevious = False,
    state_only: apply_to.StateOnly = False,
    ignore_removed: apply_to.IgnoreRemoved = False,
    allow_privileged: options.AllowPrivileged = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Verify the bundle, find the base and show the result; change nothing.")
    ] = False,
    allowed_signers: options.AllowedSigners = None,
    revoked: options.Revoked = None,
    ignore_signatures: options.IgnoreSignatures = False,
    allow_downgrade: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Accept a bundle that is older than the newest applied one. The reason is recorded."),
    ] = None,
    host: options.Host = None,
    parts_from: options.PartsFrom = None,
    limit_rate: options.LimitRate = None,
    parallel: options.Parallel = 3,
    timeout: options.Timeout = 60,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Apply a bundle to its clean base image, as a new image.

    The bundle is fetched and verified before the engine is changed. Its signatures are checked by trust.toml, and a bundle
    older than the newest applied one of the same signer, model and repository is refused. By default the base must have
    exactly the recorded layers. Prints the digest of the new image's config, which is the same on every host, and the
    engine's image ID, or with --to the digest of the manifest.
    """
    from bundler.api import verbs
    from bundler.cli import console, signatures, wiring
    from bundler.format import reference
    from bundler.verbs.apply import ApplyOptions

    admission = signatures.admission(allowed_signers, revoked, ignore_signatures, allow_downgrade)
    chosen = ApplyOptions(base, base_match is BaseMatch.version, tag, force, allow_privileged, dry_run)
    chosen_to = apply_to.options(
        to, tag, layer_compression, chosen, tag_previous=tag_previous, state_only=state_only, ignore_removed=ignore_removed
    )
    with console.Terminal(quiet=quiet) as terminal, ExitStack() as opened:
        link = wiring.Link(plain_http, limit_rate, parallel, timeout, terminal=terminal)
        if to is not None and chosen_to:
            made = apply_to.run(source, to, base, host, link, parts_from, admission, chosen_to, terminal)
            apply_to.show(made, terminal, json=json, dry_run=dry_run)
            return
        store = opened.enter_context(wiring.opened(reference.parse(source), link, parts_from))
        result = verbs.apply(store, wiring.connect(host), admission=admission, options=chosen, progress=terminal)
    if json:
        console.result_json({**_as_json(result), "dryRun": dry_run})
    elif dry_run:
        _show_plan(result, terminal)
    else:
        _show(result, terminal)


def _as_json(result: ApplyResult) -> dict[str, Any]:
    return {
        "bundle": str(result.bundle.digest),
        "base": {"id": result.base.id, "names": list(result.base.names)},
        "tag": result.tag,
        "configDigest": str(result.config_digest),
        "imageID": result.image_id or None,
        "existed": result.existed,
        "previous": result.previous or None,
        "settings": [change.to_json() for change in result.changes],
        "newSigners": list(result.new_signers),
    }


def _show_plan(result: ApplyResult, terminal: Terminal) -> None:
    from bundler.cli import console

    how = "exists already and would be tagged" if result.existed else "would be created and tagged"
    terminal.say(f"the bundle is verified and fits {_base_name(result)}; the new image {how} {result.tag}")
    console.result(f"config {result.config_digest}")


def _show(result: ApplyResult, terminal: Terminal) -> None:
    from bundler.cli import console

    state = console.size(result.bundle.metadata.size)
    how = "existed already" if result.existed else f"is {_base_name(result)} with {state} of state"
    terminal.say(f"{result.tag} {how}; run it: docker run {result.tag}")
    if result.previous:
        terminal.say(f"the previous image of {result.tag} is {result.previous}; to roll back: fps-bundle undo {result.tag}")
    console.result(f"config {result.config_digest}")
    console.result(f"image {result.image_id}")


def _base_name(result: ApplyResult) -> str:
    return result.base.names[0] if result.base.names else result.base.id
