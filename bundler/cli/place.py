"""Open the place that the references of one command line name, and ask before a wildcard removes anything."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bundler.api.stores import StoreOptions
    from bundler.cli.console import Terminal
    from bundler.ports import Place
    from bundler.verbs.names import Wanted

References = Annotated[
    list[str],
    typer.Argument(
        metavar="REF",
        help="Bundles of one place: NAME:TAG in the local store, oci:DIR:TAG, or REGISTRY/REPOSITORY:TAG. "
        "The tag can have wildcards, such as 'detector:2026-*'.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the bundles of a wildcard are changed.")]


def opened(texts: Sequence[str], store_options: StoreOptions) -> tuple[Place, list[Wanted]]:
    """Return the place that all references name; raises `UsageError` for references to several places."""
    from bundler.api import stores
    from bundler.errors import UsageError
    from bundler.verbs import names

    wanted = [names.parse(text) for text in texts]
    if other := next((it for it in wanted if it.place != wanted[0].place), None):
        raise UsageError(f"{wanted[0].text} and {other.text} are in different places", hint="Use one command for each place.")
    return stores.open_place(wanted[0].place, store_options), wanted


def confirmed(place: Place, wanted: list[Wanted], action: str, terminal: Terminal, *, asks: bool) -> list[Wanted]:
    """Return the references without wildcards; where there were some, ask on the terminal, or raise `UsageError` without one."""
    from bundler.cli import console
    from bundler.errors import UsageError
    from bundler.verbs import names

    exact = names.expand(place, wanted)
    if not asks or not any(item.pattern for item in wanted):
        return exact
    if not is_terminal():
        raise UsageError(
            f"{action} {console.counted(len(exact), 'bundle')}: a wildcard needs a confirmation, and standard input is no terminal",
            hint="Look at them with --dry-run, then add --yes.",
        )
    with terminal.still():
        _ask(exact, action)
    return exact


def is_terminal() -> bool:
    """Whether a question on the terminal can be answered."""
    return sys.stdin.isatty()


def _ask(exact: Sequence[Wanted], action: str) -> None:
    from bundler.cli import console
    from bundler.errors import UsageError

    for item in exact:
        typer.echo(console.safe(item.text), err=True)
    if not typer.confirm(f"{action} these {console.counted(len(exact), 'bundle')}?", err=True):
        raise UsageError("not confirmed: nothing was changed")
