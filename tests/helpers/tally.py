"""Counts that stand at the end of a test run, whatever else was printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

_counts: dict[str, Counter[str]] = {}


def count(what: str, outcome: str, number: int = 1) -> None:
    """One more of ``what`` that ended so."""
    _counts.setdefault(what, Counter())[outcome] += number


def dump() -> dict[str, dict[str, int]]:
    """The counts as plain values, which go from a worker to the process that prints them."""
    return {what: dict(counted) for what, counted in _counts.items()}


def add(counts: Mapping[str, Mapping[str, int]]) -> None:
    """Add what a worker has counted."""
    for what, counted in counts.items():
        for outcome, number in counted.items():
            count(what, outcome, number)


def lines() -> list[str]:
    """``what: 12 in all, 7 of one outcome, 5 of another`` for everything that was counted."""
    return [
        f"{what}: {counted.total()} in all, " + ", ".join(f"{number} {outcome}" for outcome, number in sorted(counted.items()))
        for what, counted in sorted(_counts.items())
    ]
