"""``fps-bundle cat``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import option_groups, options


def cat(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    path: Annotated[str, typer.Argument(help="Absolute path of a file in the bundle, plain or as `inspect --files` prints it.")],
    parts_from: options.PartsFrom = None,
    *,
    registry: option_groups.Network,
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
    store_options = registry.store_options(terminal)
    with wiring.opened(reference.parse(source), store_options, parts_from) as store:
        console.result_content(listing.content(read_bundle(store), store, wanted, terminal))
