"""What a dry run of a transfer shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bundler.cli import console
from bundler.cli.console import Terminal
from bundler.format.content import Descriptor
from bundler.verbs.copy import Plan


def show(plan: Plan, where: str, rate: int | None, terminal: Terminal, *, json: bool, in_parts: bool = False) -> None:
    """The blobs with what would become of them, and how long that takes at so many bytes per second.

    Of what travels ``in_parts`` nobody knows how much is there before all of it has been read.
    """
    seconds = plan.size / rate if rate else None
    if json:
        console.result_json(
            {
                "digest": str(plan.bundle.digest),
                "reference": where,
                "send": None if in_parts else plan.size,
                "skip": None if in_parts else sum(blob.size for blob in plan.there),
                "seconds": None if in_parts else seconds,
                "missing": None if in_parts else _listed(plan.missing),
                "undecided": _listed(plan.missing) if in_parts else [],
            }
        )
        return
    rows = [(str(blob.digest), console.size(blob.size), "is there") for blob in plan.there]
    rows += [(str(blob.digest), console.size(blob.size), "in parts" if in_parts else "would be sent") for blob in plan.missing]
    console.result_table(("blob", "size", ""), rows)
    how_long = f"{console.duration(seconds)} at {console.size(rate)}/s" if rate and seconds is not None else ""
    if in_parts:
        takes = f"; all of them take {how_long}" if how_long else ""
        terminal.say(f"{where}: which parts of {console.size(plan.size)} are there is known when all has been read{takes}")
    else:
        whole = sum(blob.size for blob in (*plan.there, *plan.missing))
        takes = f", which takes {how_long}" if how_long else ""
        terminal.say(f"{where} would get {console.size(plan.size)} of {console.size(whole)}{takes}")


def _listed(blobs: Sequence[Descriptor]) -> list[dict[str, Any]]:
    return [{"digest": str(blob.digest), "size": blob.size} for blob in blobs]
