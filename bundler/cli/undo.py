"""``fps-bundle undo``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import options


def undo(
    tag: Annotated[str, typer.Argument(metavar="NAME:TAG", help="The name that apply gave to a new image.")],
    host: options.Host = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Give a tag back to the image that had it before the last apply.

    The two images change places, so that a second undo undoes the first.
    """
    from bundler.cli import console, wiring
    from bundler.verbs import image_tags

    image = image_tags.undo(tag, wiring.connect(host))
    if json:
        console.result_json({"tag": tag, "imageID": image.id})
        return
    console.result(f"image {image.id}")
