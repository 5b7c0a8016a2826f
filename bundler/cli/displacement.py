"""What a command says of the bundle that had a name before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bundler.cli.console import Terminal
    from bundler.ports import Displaced


def tell(where: str, displaced: Displaced | None, terminal: Terminal) -> None:
    """Say which bundle ``where`` named before, and what it is called now."""
    if displaced:
        now = f"it is {displaced.reference} now" if displaced.reference else "it is no longer there"
        terminal.say(f"{where} was another bundle before, {displaced.digest}: {now}")


def as_json(displaced: Displaced | None) -> dict[str, str | None] | None:
    """The same for scripts."""
    return {"digest": str(displaced.digest), "reference": displaced.reference or None} if displaced else None
