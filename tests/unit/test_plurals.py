"""No message says "1 layers": a number of things is told by `units.counted`."""

from __future__ import annotations

import re
from pathlib import Path

import bundler

NOUNS = "blob|bundle|database|entrie|file|layer|link|part|path|signature"
COUNTED = re.compile(rf"\{{(?!MAX|[A-Z_]*MAX|[a-z_]+\.MAX|SESSIONS|part_list)[^{{}}]*\}} (?:(?!in)[a-z]+ )?(?:{NOUNS})s\b")
TOO_MANY = re.compile(r"(base_layers|self\.where|new_layers|layers|len\(found\)|len\(exports\)|_CLASSIC)")
"""Numbers that are told only when they are above a limit, and the name of a store, which is no number."""


def test_a_number_of_things_is_told_by_one_function() -> None:
    sources = [path for path in Path(bundler.__path__[0]).rglob("*.py") if "_proto" not in path.parts]
    found = [match[0] for path in sources for match in COUNTED.finditer(path.read_text()) if not TOO_MANY.match(match[0][1:])]
    assert found == []
