"""Changes one operator, constant or condition of a module at a time, and counts the changes that its tests do not notice.

The changes are drawn from a fixed seed; the package itself is not touched: the tests import a changed copy of it.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 600
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
}


def changed(node: ast.AST) -> ast.AST | None:
    """The node with one change, None where there is nothing to change."""
    node = copy.deepcopy(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        node.ops[0] = SWAPS[type(node.ops[0])]()  # type: ignore[assignment]
    elif isinstance(node, ast.BoolOp | ast.BinOp) and type(node.op) in SWAPS:
        node.op = SWAPS[type(node.op)]()  # type: ignore[assignment]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return node.operand
    elif isinstance(node, ast.If | ast.IfExp | ast.While) and not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
        node.test = ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        node.value += 1
    else:
        return None
    return node


class _Change(ast.NodeTransformer):
    """Replaces the node that comes as number ``wanted`` of those that can be changed."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.count, self.where = wanted, 0, ""

    def visit(self, node: ast.AST) -> ast.AST:
        other = changed(node)
        if other is None or isinstance(node, ast.AnnAssign | ast.arg):
            return self.generic_visit(node)
        self.count += 1
        if self.count - 1 == self.wanted:
            self.where = f"{node.lineno}: {_head(node)} -> {_head(ast.fix_missing_locations(other))}"  # type: ignore[attr-defined]
            return other
        return self.generic_visit(node)


def _head(node: ast.AST) -> str:
    return ast.unparse(node).splitlines()[0][:80]


def mutants(source: str, sample: int, seed: str) -> Iterator[tuple[str, str]]:
    """Some of the changed sources, each with the line and the change."""
    counting = _Change(-1)
    counting.visit(ast.parse(source))
    numbers = range(counting.count)
    for number in sorted(random.Random(seed).sample(numbers, min(sample, len(numbers)))):
        change = _Change(number)
        tree = ast.fix_missing_locations(change.visit(ast.parse(source)))
        yield change.where, ast.unparse(tree)


def survives(module: Path, source: str, tests: list[str]) -> bool:
    """Whether the tests pass with the changed source."""
    with tempfile.TemporaryDirectory() as directory:
        shutil.copytree(ROOT / "bundler", Path(directory) / "bundler", ignore=shutil.ignore_patterns("__pycache__"))
        (Path(directory) / module).write_text(source)
        environment = {**os.environ, "PYTHONPATH": directory, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        try:
            done = subprocess.run([*command, *tests], cwd=ROOT, env=environment, capture_output=True, timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=20, help="changes of each module")
    parser.add_argument("--seed", default="1")
    parser.add_argument(
        "modules", nargs="+", metavar="MODULE=TESTS", help="bundler/trust/policy.py=tests/unit/trust/test_policy.py"
    )
    arguments = parser.parse_args()
    print("| module | changes | noticed | not noticed, by line |\n|---|---|---|---|")
    for pair in arguments.modules:
        name, _, tests = pair.partition("=")
        outcomes = [
            (where, survives(Path(name), source, tests.split(",")))
            for where, source in mutants((ROOT / name).read_text(), arguments.sample, arguments.seed)
        ]
        alive = [f"`{where}`".replace("|", r"\|") for where, survived in outcomes if survived]
        print(f"| `{name}` | {len(outcomes)} | {len(outcomes) - len(alive)} | {'; '.join(alive) or 'none'} |", flush=True)


if __name__ == "__main__":
    main()
