"""``login`` and ``logout``, as commands, against real registries; nothing is kept that was refused."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from dockerlogin import install_keeper, skip_offline
from privateregistry import Tls, private_registry
from tokenregistry import TokenRegistry, serving, token_registry
from typer.testing import CliRunner, Result

from bundler.cli.main import app
from bundler.errors import StoreError
from bundler.stores.registry import credentials
from bundler.stores.registry.credentials import Credentials
from bundler.stores.registry.login import check_login

USER = Credentials("user", "secret")


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """A registry that lets ``user`` with the password ``secret`` in."""
    skip_offline()
    with private_registry("user", "secret") as address:
        yield address


@pytest.fixture
def tokens() -> Iterator[TokenRegistry]:
    with token_registry() as running:
        yield running


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, below in {"HOME": "home", "DOCKER_CONFIG": "docker", "XDG_STATE_HOME": "state"}.items():
        monkeypatch.setenv(name, str(tmp_path / below))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path / "docker" / "config.json"


def run(*arguments: str, password: str | bytes = "secret\n") -> Result:
    return CliRunner().invoke(app, arguments, input=password)


def login(registry: str, *arguments: str, user: str = "user", password: str | bytes = "secret\n") -> Result:
    return run("login", registry, "--username", user, "--password-stdin", *arguments, password=password)


@pytest.mark.parametrize("password", ["secret", "secret\n", "secret\r\n"])
def test_a_login_is_proved_and_kept(guarded: str, config: Path, password: str) -> None:
    outcome = login(guarded, password=password)
    assert (outcome.exit_code, outcome.stdout) == (0, "")
    assert f"unencrypted in {config}" in outcome.stderr
    assert f"logged in to {guarded} as user" in outcome.stderr
    assert "secret" not in outcome.output
    assert credentials.find(guarded) == USER


@pytest.mark.parametrize(("user", "password"), [("user", "wrong"), ("nobody", "secret")])
def test_a_refused_login_is_not_kept(guarded: str, config: Path, user: str, password: str) -> None:
    outcome = login(guarded, user=user, password=password)
    assert outcome.exit_code == 7
    assert f"{guarded} refused the user {user}" in outcome.stderr
    assert password not in outcome.output
    assert not config.exists()


def test_the_token_service_is_asked_where_there_is_one(tokens: TokenRegistry) -> None:
    assert login(tokens.address, password="wrong").exit_code == 7
    assert login(tokens.address).exit_code == 0
    assert len(tokens.token_requests) == 2
    assert not [authorization for _, _, authorization in tokens.requests if authorization.startswith("Basic")]
    assert credentials.find(tokens.address) == USER


def test_a_registry_that_asks_nobody_takes_any(registry: str) -> None:
    assert login(registry).exit_code == 0


@pytest.mark.parametrize("arguments", [[], ["--plain-http"]])
def test_a_registry_that_is_not_there_is_told(arguments: list[str], config: Path) -> None:
    outcome = login("127.0.0.1:9", *arguments)
    assert (outcome.exit_code, "Connection refused" in outcome.stderr) == (5, True)
    assert not config.exists()


def test_a_login_with_tls_wants_the_registrys_authority(tmp_path: Path) -> None:
    skip_offline()
    authority = Authority(tmp_path, "ca")
    certificate, key = authority.sign("server")
    with private_registry("user", "secret", tls=Tls(certificate, key)) as address:
        outcome = login(address)
        assert (outcome.exit_code, "certs.d" in outcome.stderr) == (5, True)
        directory = tmp_path / "home/.config/docker/certs.d" / address
        directory.mkdir(parents=True)
        (directory / "ca.crt").write_bytes(authority.certificate.read_bytes())
        assert login(address, password="wrong").exit_code == 7
        assert login(address).exit_code == 0


def test_a_helper_keeps_it(guarded: str, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = install_keeper(tmp_path / "bin", monkeypatch)
    config.parent.mkdir()
    config.write_text('{"credsStore": "keeper"}')
    outcome = login(guarded, "--json")
    told = {"registry": guarded, "username": "user", "storedIn": "docker-credential-keeper", "encrypted": True}
    assert (json.loads(outcome.stdout), outcome.stderr) == (told, "")
    assert "secret" in kept.read_text()
    assert run("logout", guarded).exit_code == 0
    assert not kept.exists()


def test_a_logout_forgets_and_a_second_one_says_so(guarded: str) -> None:
    login(guarded)
    assert f"logged out of {guarded}" in run("logout", guarded).stderr
    assert credentials.find(guarded) is None
    again = run("logout", guarded)
    assert (again.exit_code, f"not logged in to {guarded}" in again.stderr) == (0, True)
    assert json.loads(run("logout", guarded, "--json").stdout) == {"registry": guarded, "wasLoggedIn": False}


def test_a_damaged_configuration_is_told_and_left(guarded: str, config: Path) -> None:
    config.parent.mkdir()
    config.write_text("{")
    for outcome in (login(guarded), run("logout", guarded)):
        assert (outcome.exit_code, "config.json" in outcome.stderr) == (7, True)
    assert config.read_text() == "{"


@pytest.mark.parametrize(
    "registry", ["", "host", "a.example/team", "https://a.example", "a b.example", "../a.example", "-a.example"]
)
@pytest.mark.parametrize("command", [["login", "-u", "u", "--password-stdin"], ["logout"]])
def test_what_is_no_registry_is_a_usage_error(command: list[str], registry: str) -> None:
    assert run(*command, "--", registry).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "password"),
    [
        (["--password-stdin"], "secret"),
        (["-u", "user"], ""),
        ([], ""),
        (["-u", "", "--password-stdin"], "secret"),
        (["-u", "us:er", "--password-stdin"], "secret"),
        (["-u", "us\ner", "--password-stdin"], "secret"),
        (["-u", "user", "--password-stdin"], ""),
        (["-u", "user", "--password-stdin"], "\n"),
        (["-u", "user", "--password-stdin"], b"secret\xff"),
        (["-u", "user", "--password", "secret"], ""),
        (["-u", "user", "-p", "secret"], ""),
    ],
)
def test_a_login_without_a_user_or_a_password_is_a_usage_error(arguments: list[str], password: Any, config: Path) -> None:
    outcome = run("login", "registry.example", *arguments, password=password)
    assert outcome.exit_code == 2
    assert "secret" not in outcome.output
    assert not config.exists()


def test_the_password_is_asked_for_without_an_echo(guarded: str) -> None:
    terminal, side = pty.openpty()
    command = [sys.executable, "-m", "bundler", "login", guarded]
    with subprocess.Popen(command, stdin=side, stdout=side, stderr=side, start_new_session=True) as process:
        os.close(side)
        shown = until(terminal, b"Username: ")
        os.write(terminal, b"user\n")
        shown += until(terminal, b"Password: ")
        os.write(terminal, b"secret\n")
        shown += until(terminal, None)
    os.close(terminal)
    assert process.returncode == 0, shown
    assert b"secret" not in shown
    assert credentials.find(guarded) == USER


def until(terminal: int, text: bytes | None) -> bytes:
    """What comes on a terminal until a text has come, or until its end."""
    shown = b""
    while text is None or text not in shown:
        try:
            shown += os.read(terminal, 1000)
        except OSError:  # the other side has been closed
            break
    return shown


class Registry(BaseHTTPRequestHandler):
    """Answers all with one status and one header, and notes the credentials that it is shown."""

    status = 401
    header = ("X-Nothing", "")
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        self.send_response(self.status)
        self.send_header(*self.header)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""


def answering(status: int, name: str = "X-Nothing", value: str = "") -> type[Registry]:
    return type("Answering", (Registry,), {"status": status, "header": (name, value), "seen": []})


@pytest.mark.parametrize(
    ("name", "challenge"),
    [
        ("X-Nothing", ""),
        ("WWW-Authenticate", "Negotiate"),
        ("WWW-Authenticate", "Bearer"),
        ("WWW-Authenticate", 'Bearer realm=""'),
        ("WWW-Authenticate", 'Bearer realm="file:///etc/passwd"'),
        ("WWW-Authenticate", 'Bearer ,,=,"'),
    ],
)
def test_an_unknown_way_to_ask_is_an_error(name: str, challenge: str) -> None:
    handler = answering(401, name, challenge)
    with serving(handler) as address, pytest.raises(StoreError, match="unknown authentication scheme"):
        check_login(address, USER)
    assert set(handler.seen) == {""}


@pytest.mark.parametrize("realm", ["http://[", "http://", "http://\x00/", "https://127.0.0.1:9/token", "http://127.0.0.1:99999/"])
def test_a_token_service_that_cannot_be_reached_is_an_error(realm: str) -> None:
    with serving(answering(401, "WWW-Authenticate", f'Bearer realm="{realm}"')) as address, pytest.raises(StoreError):
        check_login(address, USER)


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_what_is_no_registry_gets_no_password(status: int) -> None:
    handler = answering(status)
    with serving(handler) as address, pytest.raises(StoreError, match=str(status)):
        check_login(address, USER)
    assert set(handler.seen) == {""}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_password_does_not_follow_a_token_service_elsewhere(status: int) -> None:
    other = answering(200)
    with serving(other) as elsewhere:
        service = answering(status, "Location", f"http://{elsewhere}/token")
        with serving(service) as realm:
            registry = answering(401, "WWW-Authenticate", f'Bearer realm="http://{realm}/token",service="x"')
            with serving(registry) as address, pytest.raises(StoreError, match=str(status)):
                check_login(address, USER)
    assert other.seen == []
    assert len(service.seen) == 1


def test_the_password_does_not_leave_tls(tmp_path: Path) -> None:
    skip_offline()
    authority = Authority(tmp_path, "ca")
    certificate, key = authority.sign("server")
    service = answering(200)
    with serving(service) as realm:
        handler = answering(401, "WWW-Authenticate", f'Bearer realm="http://{realm}/token"')
        with serving(handler, (certificate, key)) as address:
            with pytest.raises(StoreError, match="certificate verify failed"):
                check_login(address, USER)
            directory = tmp_path / "home/.config/docker/certs.d" / address
            directory.mkdir(parents=True)
            (directory / "ca.crt").write_bytes(authority.certificate.read_bytes())
            with pytest.raises(StoreError, match="unencrypted"):
                check_login(address, USER)
    assert service.seen == []
