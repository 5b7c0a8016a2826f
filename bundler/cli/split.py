"""``fps-bundle split``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import options


def split(
    file: Annotated[Path, typer.Argument(help="The archive, as copy made it.")],
    size: Annotated[str, typer.Argument(help="Size of a part: 4GiB, 700MB, or fat32, dvd or bd for the medium.")],
    into: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the parts go. Default: beside the archive.")] = None,
    part: options.Part = None,
    verify_written: options.VerifyWritten = None,
    parts_from: options.PartsFrom = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Cut an archive that exists into parts.

    FILE.001, FILE.002 and so on, one behind the other, are the archive; FILE.parts lists them. All of the archive is
    verified first. Running it again makes only the parts that are missing or damaged. Prints the bundle's digest.
    """
    from bundler.api import stores
    from bundler.bundle import read_bundle
    from bundler.cli import console, destination, wiring
    from bundler.format.reference import ArchiveReference
    from bundler.stores.archive import split_files
    from bundler.stores.archive.store import ArchiveStore
    from bundler.verbs import copy

    how = split_files.Split(destination.parse_part_size(size), frozenset(part or ()), readback=verify_written is not False)
    wiring.check_source(ArchiveReference(str(file)))
    terminal = console.Terminal(quiet=quiet)
    store = ArchiveStore(file, parts_from=tuple(parts_from or ()), progress=terminal)
    target = (into or file.parent) / file.name
    with terminal:
        whole = stores.completed(store, store.holds)
        bundle = read_bundle(whole)
        copy.read_through(whole, bundle, terminal)
        listed = split_files.split(target, bundle.digest, store.volumes(), how, terminal).listed
    if json:
        names = [{"name": found.name, "size": found.size, "digest": str(found.digest)} for found in listed.parts]
        console.result_json({"digest": str(bundle.digest), "reference": str(target), "parts": names})
        return
    in_parts = f"{console.counted(len(listed.parts), 'part')} of {console.size(listed.part_size)}"
    terminal.say(f"{target} is {in_parts}, listed in {target.name}.parts")
    console.result(str(bundle.digest))
