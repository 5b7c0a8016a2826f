"""Report the bundle that had the name of a new bundle before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bundler.cli.console import Terminal
    from bundler.ports import Displaced


def tell(where: str, displaced: Displaced | None, terminal: Terminal) -> None:
    """Show which bundle ``where`` named before, and its new name."""
    if displaced:
        fate = f"is now {displaced.reference}" if displaced.reference else "was removed"
        terminal.say(f"{where} replaces another bundle: {displaced.digest} {fate}")


def as_json(displaced: Displaced | None) -> dict[str, str | None] | None:
    """Return the displaced bundle for JSON."""
    return {"digest": str(displaced.digest), "reference": displaced.reference or None} if displaced else None
