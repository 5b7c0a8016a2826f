from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import FakeEngine
from typer.testing import CliRunner

from bundler.cli import console
from bundler.cli.main import COMMANDS, app
from bundler.errors import AuthorizationError, BaseMismatchError, BundlerError, EngineError, Mismatch, TrustError
from bundler.stores.registry import credentials
from bundler.verbs.doctor import examine


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\nverified OK", "a\\nverified OK"),
        ("\u202egnp", "\\u202egnp"),
        ("\r\x9b2J", "\\r\\x9b2J"),
        ("snow ☃", "snow ☃"),
        ("\udcff", "\\udcff"),
    ],
)
def test_foreign_text_cannot_act_on_the_terminal(text: str, shown: str) -> None:
    assert console.safe(text) == shown


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_440_000_000, "2.4 GB"), (10**16, "10000.0 TB")]
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert console.size(count) == text


def test_a_command_stands_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    console.error(BundlerError("paused", hint="To resume it, run:", command="docker unpause x\x1b[2J" + "x" * 300))
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:] == ["To resume it, run:", "  docker unpause x\\x1b[2J" + "x" * 300]


def test_an_error_shows_what_differs_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    console.error(
        BaseMismatchError("another base", mismatches=[Mismatch("platform", "linux/amd64", "linux/arm64")], hint="Do this.")
    )
    shown = capsys.readouterr().err
    assert shown.startswith("error: another base\n")
    assert "linux/arm64" in shown
    assert shown.endswith("Do this.\n")


@pytest.mark.parametrize(("quiet", "shown"), [(False, "reading back \\x1b x.tar (5.0 MB)\n"), (True, "")])
def test_work_beside_a_stage_is_a_line_where_there_is_no_terminal(
    quiet: bool, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with console.Terminal(quiet=quiet) as terminal, terminal.aside("reading back \x1b x.tar", 5_000_000) as advance:
        advance(5_000_000)
    assert capsys.readouterr().err == shown


def test_every_command_explains_itself() -> None:
    listed = CliRunner().invoke(app, ["--help"]).output
    for name in COMMANDS:
        assert f" {name} " in listed
        shown = CliRunner().invoke(app, [name, "--help"])
        assert shown.exit_code == 0
        assert "Usage" in shown.output


@pytest.mark.parametrize("arguments", [["push"], ["nonsense"], ["apply", "--nonsense"], ["copy", "only-one"]])
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_a_missing_file_is_exit_code_2_without_a_traceback(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["inspect", str(tmp_path / "none.tar")])
    assert outcome.exit_code == 2
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    command = ["inspect", str(tmp_path / "none.tar")]
    assert "Traceback" in CliRunner().invoke(app, [*command, "--debug"]).stderr
    assert "Traceback" not in CliRunner().invoke(app, command).stderr
    assert "Traceback" in CliRunner().invoke(app, ["inspect", "model:1", f"--allowed-signers={command[1]}", "--debug"]).stderr


def test_the_doctor_names_what_is_wrong(tmp_path: Path) -> None:
    def no_engine() -> FakeEngine:
        raise EngineError("no engine", hint="start one")

    def no_credentials() -> str:
        raise AuthorizationError("damaged")

    def no_policy() -> str:
        raise TrustError("unreadable")

    found = {item.what: item for item in examine(no_engine, tmp_path / "store", no_credentials, no_policy, list)}
    assert (found["engine"].ok, found["engine"].exit_code, found["engine"].hint) == (False, 4, "start one")
    assert found["registry credentials"].exit_code == 7
    assert found["allowed signers"].exit_code == 9
    assert all(item.ok for item in examine(FakeEngine, tmp_path, lambda: "none", lambda: "none", list))


def configure(directory: Path, content: object, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    monkeypatch.setenv("DOCKER_CONFIG", str(directory))


def test_credentials_of_the_config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    auths = {"r.example:5000": {"auth": "dXNlcjpwYTpzcw=="}, credentials.HUB_KEY: {"auth": "aHViOngK"}}
    configure(tmp_path, {"auths": auths}, monkeypatch)
    assert credentials.find("r.example:5000") == credentials.Credentials("user", "pa:ss")
    assert credentials.find("docker.io") is not None
    assert credentials.find("other.example") is None
    assert "pa:ss" not in repr(credentials.find("r.example:5000"))


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text('#!/bin/sh\nread h\n[ "$h" = r.example ] && echo \'{"Username":"u","Secret":"s"}\' || exit 1\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    configure(tmp_path, {"credHelpers": {"r.example": "test"}, "credsStore": "test"}, monkeypatch)
    assert credentials.find("r.example") == credentials.Credentials("u", "s")
    assert credentials.find("other.example") is None


@pytest.mark.parametrize(
    "content", ["{", {"auths": {"r.example": {"auth": "%%%"}}}, {"credHelpers": {"r.example": "is-not-there"}}]
)
def test_credentials_that_cannot_be_read_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object) -> None:
    configure(tmp_path, content, monkeypatch)
    with pytest.raises(AuthorizationError):
        credentials.find("r.example")


def test_exit_codes_are_distinct() -> None:
    codes = [kind.exit_code for kind in [BundlerError, *BundlerError.__subclasses__()]]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_lengths_of_time_are_for_people(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text
