"""``fps-bundle apply``"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli import apply_to, option_groups, options, replacement

if TYPE_CHECKING:
    from bundler.cli.console import Terminal
    from bundler.verbs.apply import ApplyResult
    from bundler.verbs.replace import ReplaceResult


class BaseMatch(Enum):
    """Values of --base-match."""

    exact = "exact"
    version = "version"


BaseMatchName = Annotated[
    BaseMatch,
    typer.Option("--base-match", help="Accept only the recorded base, or any image with the same title, version and vendor."),
]
Tag = Annotated[
    str | None,
    typer.Option(metavar="NAME:TAG", help="Tag of the new image. Default: the base's repository, the version and the digest."),
]
Force = Annotated[bool, typer.Option("--force", help="Move the tag also if it names an image that fps-bundle did not make.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Verify the bundle, find the base and show the result; change nothing.")]
AllowDowngrade = Annotated[
    str | None,
    typer.Option(metavar="REASON", help="Accept a bundle that is older than the newest applied one. The reason is recorded."),
]


def apply(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    to: apply_to.To = None,
    base: apply_to.BaseName = None,
    base_match: BaseMatchName = BaseMatch.exact,
    tag: Tag = None,
    force: Force = False,
    layer_compression: apply_to.LayerCompressionName = None,
    tag_previous: apply_to.TagPrevious = False,
    state_only: apply_to.StateOnly = False,
    ignore_removed: apply_to.IgnoreRemoved = False,
    allow_privileged: options.AllowPrivileged = False,
    dry_run: DryRun = False,
    replace: replacement.Replace = None,
    ready_timeout: replacement.ReadyTimeout = None,
    keep_mounted_state: replacement.KeepMountedState = False,
    *,
    trust: option_groups.Trust,
    allow_downgrade: AllowDowngrade = None,
    host: options.Host = None,
    parts_from: options.PartsFrom = None,
    registry: option_groups.Transfer,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Apply a bundle to its clean base image, as a new image.

    The bundle is fetched and verified before the engine is changed. Its signatures are checked by trust.toml, and a bundle
    older than the newest applied one of the same signer, model and repository is refused. By default the base must have
    exactly the recorded layers. Prints the digest of the new image's config, which is the same on every host, and the
    engine's image ID. With --to an image is written to a registry, layout or archive, and its manifest's digest is printed.
    With --replace a container is replaced by one of the new image, which must get ready.
    """
    from bundler.cli import console, signatures, wiring
    from bundler.format import reference
    from bundler.verbs.apply import ApplyOptions

    admission = signatures.admission(trust, allow_downgrade)
    chosen = ApplyOptions(base, base_match is BaseMatch.version, tag, force, allow_privileged, dry_run)
    replacing = replacement.chosen(replace, ready_timeout, to, keep_mounted_state=keep_mounted_state)
    as_image = apply_to.options(
        to, tag, layer_compression, chosen, tag_previous=tag_previous, state_only=state_only, ignore_removed=ignore_removed
    )
    with console.Terminal(quiet=quiet) as terminal:
        store_options = registry.store_options(terminal)
        if to is not None and as_image:
            made = apply_to.run(source, to, base, host, store_options, parts_from, admission, as_image, terminal)
        else:
            with wiring.opened(reference.parse(source), store_options, parts_from) as store:
                done = replacement.apply(store, wiring.connect(host), replace, replacing, admission, chosen, terminal)
    if to is not None:
        apply_to.show(made, terminal, json=json, dry_run=dry_run)
    else:
        _report(done, replace, terminal, json=json, dry_run=dry_run)


def _report(done: ReplaceResult, container: str | None, terminal: Terminal, *, json: bool, dry_run: bool) -> None:
    """Print the result; ``container`` is what was to be replaced."""
    from bundler.cli import console

    if json:
        console.result_json({**_as_json(done.applied), "dryRun": dry_run, **replacement.as_json(done.replaced)})
    elif dry_run:
        _show_plan(done.applied, container, terminal)
    else:
        _show(done.applied, terminal)
        replacement.show(done.replaced, terminal)


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


def _show_plan(result: ApplyResult, container: str | None, terminal: Terminal) -> None:
    from bundler.cli import console

    how = "exists already and would be tagged" if result.existed else "would be created and tagged"
    terminal.say(f"the bundle is verified and fits {_base_name(result)}; the new image {how} {result.tag}")
    if container is not None:
        terminal.say(f"the container {container} would be replaced")
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
