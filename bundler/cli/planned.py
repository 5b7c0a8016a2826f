"""What a dry run of a transfer shows."""

from __future__ import annotations

from bundler import console
from bundler.console import Terminal
from bundler.transfer import Plan


def show(plan: Plan, where: str, rate: int | None, terminal: Terminal, *, json: bool) -> None:
    """The blobs with what would become of them, and how long that takes at so many bytes per second."""
    seconds = plan.size / rate if rate else None
    if json:
        console.result_json(
            {
                "digest": str(plan.bundle.digest),
                "reference": where,
                "send": plan.size,
                "skip": sum(blob.size for blob in plan.there),
                "seconds": seconds,
                "missing": [{"digest": str(blob.digest), "size": blob.size} for blob in plan.missing],
            }
        )
        return
    rows = [(str(blob.digest), console.size(blob.size), "is there") for blob in plan.there]
    rows += [(str(blob.digest), console.size(blob.size), "would be sent") for blob in plan.missing]
    console.result_table(("blob", "size", ""), rows)
    whole = sum(blob.size for blob in (*plan.there, *plan.missing))
    how_long = f", which takes {console.duration(seconds)} at {console.size(rate)}/s" if rate and seconds is not None else ""
    terminal.say(f"{where} would get {console.size(plan.size)} of {console.size(whole)}{how_long}")
