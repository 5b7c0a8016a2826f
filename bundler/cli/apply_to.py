"""``fps-bundle apply --to``"""

from __future__ import annotations

from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.errors import UsageError

if TYPE_CHECKING:
    from bundler.cli.console import Terminal
    from bundler.cli.wiring import Link
    from bundler.trust.admission import Admission
    from bundler.verbs.apply import ApplyOptions
    from bundler.verbs.apply_to import ApplyToOptions, ApplyToResult


class LayerCompression(Enum):
    """Values of --layer-compression."""

    zstd = "zstd"
    gzip = "gzip"


To = Annotated[
    str | None,
    typer.Option(metavar="DEST", help="Write the image to a registry, oci:DIR[:TAG] or oci-archive:FILE[:TAG], without an engine."),
]
BaseName = Annotated[
    str | None,
    typer.Option(
        metavar="IMAGE",
        help="Clean base image. Default: found by its layers. With --to a reference, or engine:NAME; default: found under its "
        "recorded names.",
    ),
]
LayerCompressionName = Annotated[
    LayerCompression | None,
    typer.Option(
        "--layer-compression",
        help="With --to: gzip compresses the bundle's layers again, for Docker before 23. Default: as they are, zstd.",
    ),
]
TagPrevious = Annotated[bool, typer.Option("--tag-previous", help="With --to: keep the image that had the tag, as TAG-previous.")]
StateOnly = Annotated[bool, typer.Option("--state-only", help="With --to: an image of the bundle's layers alone, to be mounted.")]
IgnoreRemoved = Annotated[
    bool,
    typer.Option("--ignore-removed", help="With --state-only: accept a bundle with deletions, which such an image cannot make."),
]


def options(
    to: str | None,
    tag: str | None,
    compression: LayerCompression | None,
    chosen: ApplyOptions,
    *,
    tag_previous: bool,
    state_only: bool,
    ignore_removed: bool,
) -> ApplyToOptions | None:
    """Return the options of ``apply --to``, None without it; raises `UsageError` for options that do not go with it, or need it."""
    from bundler.format.image_compression import ImageCompression
    from bundler.verbs.apply_to import ApplyToOptions

    if to is None:
        if compression or tag_previous or state_only or ignore_removed:
            raise UsageError(
                "--layer-compression, --tag-previous, --state-only and --ignore-removed need --to",
                hint="Name a registry, oci:DIR:TAG or oci-archive:FILE:TAG with --to.",
            )
        return None
    if tag is not None:
        raise UsageError("--tag names an image of an engine, and --to needs none", hint="Write the tag into --to, as DEST:TAG.")
    return ApplyToOptions(
        same_version=chosen.same_version,
        force=chosen.force,
        allow_privileged=chosen.allow_privileged,
        compression=ImageCompression(compression.value) if compression else ImageCompression.zstd,
        keep_previous=tag_previous,
        state_only=state_only,
        ignore_removed=ignore_removed,
        dry_run=chosen.dry_run,
    )


def run(
    source: str,
    destination: str,
    base: str | None,
    host: str | None,
    link: Link,
    parts_from: list[Path] | None,
    admission: Admission,
    options: ApplyToOptions,
    terminal: Terminal,
) -> ApplyToResult:
    """Write the image of a bundle to a destination, by the options of the command."""
    from bundler.api import images
    from bundler.cli import wiring
    from bundler.format import reference

    wiring.destination(destination)
    if host is not None and not (base or "").startswith(images.ENGINE):
        raise UsageError(
            "--to needs no engine, so --host has no meaning", hint="Omit --host, or name its image: --base engine:NAME."
        )
    images.check_options(images.parse_destination(destination), base, options)
    with ExitStack() as opened:
        engine = wiring.connect(host) if base and base.startswith(images.ENGINE) else None
        store = opened.enter_context(wiring.opened(reference.parse(source), link, parts_from))
        return images.apply_to(
            store,
            destination,
            admission=admission,
            options=options,
            base=base,
            engine=engine,
            store_options=link.store_options,
            progress=terminal,
        )


def show(result: ApplyToResult, terminal: Terminal, *, json: bool, dry_run: bool) -> None:
    """Print the new image, or what a dry run found."""
    from bundler.cli import console

    if json:
        console.result_json({**_as_json(result), "dryRun": dry_run})
        return
    on = f"{result.base.name} with " if result.base else ""
    state = f"{on}{console.size(result.bundle.metadata.size)} of state"
    if result.existed:
        terminal.say(f"{result.reference} exists already, with this image")
    elif dry_run:
        terminal.say(f"the bundle is verified; the new image, {state}, would be written to {result.reference}")
    else:
        terminal.say(f"{result.reference} is {state}; {console.size(result.sent)} sent")
    if result.previous:
        terminal.say(f"the previous image has the tag {result.previous}")
    console.result(f"config {result.config_digest}")
    if result.digest:
        console.result(f"manifest {result.digest}")


def _as_json(result: ApplyToResult) -> dict[str, Any]:
    base = result.base
    return {
        "bundle": str(result.bundle.digest),
        "base": {"name": base.name, "digest": str(base.digest) if base.digest else None} if base else None,
        "reference": result.reference,
        "configDigest": str(result.config_digest),
        "manifestDigest": str(result.digest) if result.digest else None,
        "existed": result.existed,
        "previous": result.previous or None,
        "sent": result.sent,
        "settings": [change.to_json() for change in result.changes],
        "newSigners": list(result.new_signers),
    }
