"""``fps-bundle undo``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import options


def undo(
    tag: Annotated[str, typer.Argument(metavar="NAME:TAG", help="The tag that apply or ingest moved to a new image.")],
    host: options.Host = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Roll a tag back to its previous image.

    The two images swap names, so a second undo reverts the first.
    """
    from bundler.cli import console, wiring
    from bundler.verbs import image_tags

    image = image_tags.undo(tag, wiring.connect(host))
    if json:
        console.result_json({"tag": tag, "imageID": image.id})
        return
    console.result(f"image {image.id}")
