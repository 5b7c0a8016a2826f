"""``fps-bundle split``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import options


def split(
    file: Annotated[Path, typer.Argument(help="The archive file, as written by copy.")],
    size: Annotated[str, typer.Argument(help="Size of a part, such as 4GiB or 700MB; fat32, dvd or bd for a medium.")],
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory for the parts. Default: the directory of the archive.")
    ] = None,
    part: options.Part = None,
    verify_written: options.VerifyWritten = None,
    parts_from: options.PartsFrom = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Split an archive file into parts.

    The parts FILE.001, FILE.002 and so on, concatenated, are the archive; FILE.parts lists them. The archive is verified
    first. A second run writes only parts that are missing or damaged. Prints the bundle's digest.
    """
    from bundler.api import stores
    from bundler.bundle import read_bundle
    from bundler.cli import console, destination, wiring
    from bundler.format.reference import ArchiveReference
    from bundler.stores.archive import split_files
    from bundler.stores.archive.store import ArchiveStore
    from bundler.verbs import copy

    split_options = split_files.Split(
        destination.parse_part_size(size), frozenset(part or ()), verify_written=verify_written is not False
    )
    wiring.check_source(ArchiveReference(str(file)))
    terminal = console.Terminal(quiet=quiet)
    store = ArchiveStore(file, parts_from=tuple(parts_from or ()), progress=terminal)
    target = (into or file.parent) / file.name
    with terminal:
        whole = stores.completed(store, store.holds)
        bundle = read_bundle(whole)
        copy.read_through(whole, bundle, terminal)
        listed = split_files.split(target, bundle.digest, store.volumes(), split_options, terminal).listed
    if json:
        names = [{"name": it.name, "size": it.size, "digest": str(it.digest)} for it in listed.parts]
        console.result_json({"digest": str(bundle.digest), "reference": str(target), "parts": names})
        return
    in_parts = f"{console.counted(len(listed.parts), 'part')} of {console.size(listed.part_size)}"
    terminal.say(f"split {target} into {in_parts}; they are listed in {target.name}.parts")
    console.result(str(bundle.digest))
