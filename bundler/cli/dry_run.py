"""The report of a dry run of a transfer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bundler.cli import console
from bundler.cli.console import Terminal
from bundler.format.content import Descriptor
from bundler.verbs.copy import Plan


def show(plan: Plan, where: str, rate: int | None, terminal: Terminal, *, json: bool, in_parts: bool = False) -> None:
    """Show the blobs to send and to skip, and the duration at ``rate`` bytes per second.

    A transfer ``in_parts`` cannot tell which parts the destination has before it has read all of them.
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
    rows = [(str(blob.digest), console.size(blob.size), "skip") for blob in plan.there]
    rows += [(str(blob.digest), console.size(blob.size), "in parts" if in_parts else "send") for blob in plan.missing]
    console.result_table(("blob", "size", "action"), rows)
    at_rate = f"{console.duration(seconds)} at {console.size(rate)}/s" if rate and seconds is not None else ""
    if in_parts:
        takes = f"; all parts take {at_rate}" if at_rate else ""
        terminal.say(f"{where}: {console.size(plan.size)} in parts; existing parts are known only after all has been read{takes}")
    else:
        total = sum(blob.size for blob in (*plan.there, *plan.missing))
        takes = f", in {at_rate}" if at_rate else ""
        terminal.say(f"would send {console.size(plan.size)} of {console.size(total)} to {where}{takes}")


def _listed(blobs: Sequence[Descriptor]) -> list[dict[str, Any]]:
    return [{"digest": str(blob.digest), "size": blob.size} for blob in blobs]
