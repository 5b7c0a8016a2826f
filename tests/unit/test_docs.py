"""The documents are true: code is the example's, links lead somewhere, and the tests that they name exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TESTS = ROOT / "tests"
IDS = [str(document.relative_to(ROOT)) for document in DOCUMENTS]


def functions(source: str) -> dict[str, str]:
    """What the functions of a source do, by their names: without docstrings, types and layout."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            arguments = [argument.arg for argument in node.args.args]
            found[node.name] = f"{arguments} {[ast.dump(statement) for statement in body]}"
    return found


def prose(document: Path) -> str:
    """The text of a document without its code blocks."""
    return re.sub(r"^( *)```.*?^\1```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub and GitLab give to the headings of a document."""
    headings = re.findall(r"^#+ +(.*?) *$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path) -> Iterator[str]:
    """The relative links that lead to no file, or to no heading of one."""
    for link in re.findall(r"\]\(([^()\s]+)\)", prose(document)):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = document.parent / parts.path if parts.path else document
        if not target.exists() or (parts.fragment and parts.fragment not in anchors(target)):
            yield link


def unknown_tests(document: Path) -> Iterator[str]:
    """The files and functions of tests that a document names and that do not exist."""
    text = document.read_text()
    for name in re.findall(r"`(?:tests/)?([a-z_/]+\.py)\b", text):
        folder, _, file = name.rpartition("/")
        is_test = file.startswith("test_") or folder.split("/")[0] in ("unit", "contract", "hostile", "integration")
        if is_test and not ((TESTS / name).exists() if folder else list(TESTS.rglob(file))):
            yield name
    defined = {name for path in TESTS.rglob("test_*.py") for name in re.findall(r"def (test_\w+)\(", path.read_text())}
    yield from {name for name in re.findall(r"`(test_\w+)`", text) if name not in defined}


def test_how_to_write_a_migrator_is_shown_by_the_example() -> None:
    shown = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "user" / "ingest.md").read_text(), re.DOTALL)
    documented = functions("\n".join(shown))
    assert set(documented) == {"Export", "Ingest"}
    assert documented.items() <= functions((ROOT / "examples" / "model" / "server.py").read_text()).items()


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_relative_link_leads_to_a_file_and_its_heading(document: Path) -> None:
    assert list(broken_links(document)) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    assert list(unknown_tests(document)) == []
