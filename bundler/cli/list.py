"""``fps-bundle list``"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli import option_groups, options

if TYPE_CHECKING:
    from bundler.cli.bundle_rows import Row
    from bundler.format.reference import Reference
    from bundler.ports import Named


class Sort(Enum):
    """Values of --sort."""

    name = "name"
    created = "created"
    size = "size"


_Filter = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD=PATTERN", help="Only bundles of which a field matches, such as tag=2026-* or signed=no. Repeatable."
    ),
]
_Format = Annotated[
    str,
    typer.Option(
        metavar="table|json|TEMPLATE",
        help="A template is one of Docker's style. Fields: Name, Tag, Digest, Created, Size, Title, Version, Base, Signed, From.",
    ),
]


def list(
    where: Annotated[
        str | None,
        typer.Argument(
            help="A registry's repository, oci:DIR, FILE.tar, or NAME in the local store. With a tag or digest: only that bundle. "
            "Default: the whole local store."
        ),
    ] = None,
    have: Annotated[bool, typer.Option("--have", help="Print a list for `copy --have` on another host.")] = False,
    parts_from: options.PartsFrom = None,
    sort: Annotated[Sort, typer.Option(help="Order: by name, the newest first, or the largest first.")] = Sort.name,
    filter: _Filter = None,
    format: _Format = "table",
    trunc: Annotated[bool, typer.Option("--trunc/--no-trunc", help="Cut a table to the width of the terminal.")] = True,
    *,
    registry: option_groups.Connection,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the bundles of a store.

    On a terminal this is a table, else one line with tabs for each bundle: name, digest, size, time of creation.
    SIGNED says that there is a signature, and `verify` whether it is trusted. The exit code is 6 when the store has no
    bundle with the given name, tag or digest.
    """
    from bundler.bundle import list_bundles
    from bundler.cli import bundle_rows, wiring
    from bundler.format import reference, thin_list
    from bundler.verbs.have import had

    written = None if json or format in ("table", "json") else bundle_rows.template(format)
    named = reference.parse(where) if where else reference.LocalReference("")
    with wiring.opened(named, registry.store_options(), parts_from) as store:
        chosen = _chosen(store.names(), named, where) if where else None
        bundles = list_bundles(store, chosen)
        if have:
            sys.stdout.write(thin_list.write([had(name, manifest, store) for name, manifest in bundles]).decode())
            return
        place = "" if isinstance(named, reference.LocalReference) else str(replace(named, tag="", digest=None))
        rows = [bundle_rows.Row(name, manifest, store, place) for name, manifest in bundles]
        rows = bundle_rows.ordered(bundle_rows.filtered(rows, filter or ()), sort.value)
        if written:
            _write(written(row) for row in rows)
        else:
            _print(rows, trunc=trunc, json=json or format == "json")


def _print(rows: Sequence[Row], *, trunc: bool, json: bool) -> None:
    from bundler.cli import bundle_rows, console

    if json:
        console.result_json(
            [
                {
                    "name": it.stored_name,
                    "digest": it.digest,
                    "size": it.manifest.size,
                    "annotations": dict(it.manifest.annotations),
                }
                for it in rows
            ]
        )
    elif sys.stdout.isatty():
        cells = bundle_rows.table(rows, shutil.get_terminal_size().columns, trunc=trunc)
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        _write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
    else:
        console.result_table((), [(it.stored_name, it.digest, it.size, it.created) for it in rows])


def _write(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")


def _chosen(names: Sequence[Named], named: Reference, where: str) -> Sequence[Named]:
    """Return the entries of a store that match a digest or tag, or in the local store a name without a tag."""
    from bundler.errors import NotFoundError
    from bundler.format import reference

    exact, chosen = reference.is_exact(where, named), names
    if isinstance(named, reference.LocalReference):
        chosen = [it for it in chosen if reference.without_tag(it.name) == named.name]
    if named.digest:
        chosen = [it for it in chosen if it.manifest.digest == named.digest]
    elif exact:
        tag = str(named) if isinstance(named, reference.LocalReference) else named.tag
        chosen = [it for it in chosen if it.name == tag]
    if not chosen and (exact or isinstance(named, reference.LocalReference)):
        available = ", ".join(sorted(it.name for it in names if it.name)[:20]) or "no bundles"
        raise NotFoundError(f"{where}: no such bundle", hint=f"Available: {available}")
    return chosen
