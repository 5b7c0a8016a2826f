"""What all tests share: the counts at the end of the summary."""

from __future__ import annotations

import pytest
import tally


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = tally.lines()
    if lines:
        terminalreporter.section("counts")
    for line in lines:
        terminalreporter.line(line)
