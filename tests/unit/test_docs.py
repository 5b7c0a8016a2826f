"""The code in the documents is the code of the example."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def functions(source: str) -> dict[str, str]:
    """What the functions of a source do, by their names: without docstrings, types and layout."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            arguments = [argument.arg for argument in node.args.args]
            found[node.name] = f"{arguments} {[ast.dump(statement) for statement in body]}"
    return found


def test_how_to_write_a_migrator_is_shown_by_the_example() -> None:
    shown = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "user" / "ingest.md").read_text(), re.DOTALL)
    documented = functions("\n".join(shown))
    assert set(documented) == {"Export", "Ingest"}
    assert documented.items() <= functions((ROOT / "examples" / "model" / "server.py").read_text()).items()
