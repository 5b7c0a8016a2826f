"""``fps-bundle undo``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import options, replacement


def undo(
    tag: Annotated[
        str | None, typer.Argument(metavar="NAME:TAG", help="The tag that apply or ingest moved to a new image.")
    ] = None,
    container: Annotated[
        str | None,
        typer.Option(
            "--container", metavar="NAME", help="Swap a container with the one that apply --replace kept as NAME-previous."
        ),
    ] = None,
    ready_timeout: replacement.ReadyTimeout = None,
    host: options.Host = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Roll a tag back to its previous image, or a container to the one that it replaced.

    The two images or containers swap names, so a second undo reverts the first.
    """
    from bundler.errors import UsageError

    if (tag is None) == (container is None):
        raise UsageError(
            "name either a tag or a container", hint="Use: fps-bundle undo NAME:TAG, or: fps-bundle undo --container NAME."
        )
    if container is not None:
        _undo_container(container, replacement.seconds(ready_timeout), host, json=json, quiet=quiet)
    elif tag is not None:
        if ready_timeout is not None:
            raise UsageError("--ready-timeout needs --container", hint="Leave it out for a tag.")
        _undo_tag(tag, host, json=json)


def _undo_tag(tag: str, host: str | None, *, json: bool) -> None:
    from bundler.cli import console, wiring
    from bundler.verbs import image_tags

    image = image_tags.undo(tag, wiring.connect(host))
    if json:
        console.result_json({"tag": tag, "imageID": image.id})
        return
    console.result(f"image {image.id}")


def _undo_container(name: str, ready_timeout: float, host: str | None, *, json: bool, quiet: bool) -> None:
    from bundler.api import verbs
    from bundler.cli import console, wiring

    with console.Terminal(quiet=quiet) as terminal:
        replaced = verbs.undo_replace(name, wiring.connect(host), ready_timeout=ready_timeout, progress=terminal)
    if json:
        console.result_json(replacement.as_json(replaced))
        return
    replacement.show(replaced, terminal)
