"""The help of the commands, and options that mean the same in all of them."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from bundler.cli.help_format import paragraphs
from bundler.cli.main import COMMANDS, app
from bundler.cli.option_groups import Connection


def help_of(*command: str) -> str:
    return CliRunner().invoke(app, [*command, "--help"]).output


@pytest.mark.parametrize("command", COMMANDS)
def test_usage_has_no_braces_and_flags_have_no_type(command: str) -> None:
    shown = help_of(command)
    assert "<bool>" not in shown
    assert not {"{", "}"} & set(shown.splitlines()[0])
    assert "…" not in shown
    assert "<bool>" not in help_of()


@pytest.mark.parametrize(
    ("command", "usage"), [("push", "[CONTAINER] [DEST]"), ("copy", "SOURCE DEST"), ("list", "[WHERE]"), ("undo", "[NAME:TAG]")]
)
def test_usage_names_arguments_in_capitals(command: str, usage: str) -> None:
    assert help_of(command).splitlines()[0].endswith(f" {command} [OPTIONS] {usage}")


@pytest.mark.parametrize("command", COMMANDS)
def test_network_options_are_one_section(command: str) -> None:
    general, _, network = help_of(command).partition("Network options:")
    for option in ("--limit-rate", "--parallel", "--timeout", "--plain-http"):
        assert f" {option} " not in general
    assert ("--plain-http" in network) == bool(network)


@pytest.mark.parametrize(("written", "files", "registries"), [(None, True, False), (True, True, True), (False, False, False)])
def test_files_are_read_back_by_default_and_registries_are_not(written: bool | None, files: bool, registries: bool) -> None:
    chosen = Connection().store_options(verify_written=written)
    assert (chosen.verify_files, bool(chosen.verify_written)) == (files, registries)


def test_lines_of_a_paragraph_are_joined() -> None:
    assert paragraphs("One.\n\n    Two\n    lines.\n\n    Three.\n") == "One.\n\nTwo lines.\n\nThree."
