"""What the parts of the page share: targets, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """A target: a measured value and the most that is allowed."""

    what: str
    measured: float
    allowed: float
    unit: str = "s"

    @property
    def passed(self) -> bool:
        return self.measured <= self.allowed


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
