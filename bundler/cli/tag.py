"""``fps-bundle tag``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import options


def tag(
    ref: Annotated[str, typer.Argument(help="The bundle: in the local store, oci:DIR:TAG, or REGISTRY/REPOSITORY:TAG.")],
    name: Annotated[
        str, typer.Argument(metavar="NAME:TAG", help="The new name in the same place, written in the same way as REF.")
    ],
    timeout: options.Timeout = 60,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Give a bundle another tag in its place.

    A tag that another bundle has is moved. Use `copy` for another layout, registry or repository.
    """
    from bundler.api import stores
    from bundler.cli import console, displacement, wiring
    from bundler.verbs import names

    wanted, target = names.parse(ref), names.parse(name)
    names.check_target(wanted, target)
    with console.Terminal(quiet=quiet) as terminal:
        link = wiring.Link(plain_http, timeout=timeout, terminal=terminal)
        entry, displaced = names.tag(stores.open_place(target.reference, link.store_options), wanted, target)
    if json:
        shown = displacement.as_json(displaced)
        console.result_json({"reference": str(target.reference), "digest": str(entry.bundle), "displaced": shown})
        return
    displacement.tell(str(target.reference), displaced, terminal)
    console.result(str(entry.bundle))
