"""Writes the table of docs/user/engines.md from what ``make test-engines`` counted."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "user" / "engines.md"
BEGIN, END = "<!-- make test-engines -->\n", "<!-- end -->\n"


def table(report: Mapping[str, Mapping[str, Mapping[str, Mapping[str, int]]]], versions: Mapping[str, str]) -> str:
    """One row for each engine, one column for each operation: how many tests passed, of how many."""
    operations = sorted({operation for counts in report.values() for operation in counts})
    rows = [["engine", "version", *operations], ["---"] * (2 + len(operations))]
    for engine in sorted(versions):
        counts = [report.get(engine, {}).get(operation, {}) for operation in operations]
        rows.append([engine, versions[engine], *(_cell(it) for it in counts)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cell(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    return f"{counts.get('passed', 0)} of {total}" if total else "not for it"


def main(directory: str) -> int:
    versions: dict[str, str] = {}
    operations: dict[str, dict[str, Counter[str]]] = {}
    for path in sorted(Path(directory).glob("*.json")):  # one of each worker
        found = json.loads(path.read_text())
        versions |= found["versions"]
        for engine, counts in found["operations"].items():
            for operation, outcomes in counts.items():
                operations.setdefault(engine, {}).setdefault(operation, Counter()).update(outcomes)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}{table(operations, versions)}{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
