"""Modules of tests are found by their names alone, also those of other folders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent


def test_no_two_modules_outside_of_packages_have_one_name() -> None:
    modules = [path.name for path in TESTS.rglob("*.py") if not (path.parent / "__init__.py").exists()]
    assert [name for name, count in Counter(modules).items() if count > 1 and name != "conftest.py"] == []
