"""``fps-bundle cat``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import options


def cat(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    path: Annotated[str, typer.Argument(help="Absolute path of a file in the bundle, plain or as `inspect --files` prints it.")],
    parts_from: options.PartsFrom = None,
    limit_rate: options.LimitRate = None,
    timeout: options.Timeout = 60,
    plain_http: options.PlainHttp = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Write one file of a bundle to standard output.

    Only the parts of the bundle that contain the file are fetched. Every part is verified before it is written.
    Bundles of older versions have no table of contents: a whole layer is read, and the output is valid only with exit code 0.
    Signatures are not verified.
    """
    from bundler.bundle import read_bundle
    from bundler.cli import console, wiring
    from bundler.format import reference
    from bundler.verbs import listing

    terminal = console.Terminal(quiet=quiet)
    wanted = listing.parse(path)
    link = wiring.Link(plain_http, limit_rate, timeout=timeout, terminal=terminal)
    with wiring.opened(reference.parse(source), link, parts_from) as store:
        console.result_content(listing.content(read_bundle(store), store, wanted, terminal))
