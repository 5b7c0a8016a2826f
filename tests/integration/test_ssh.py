"""Engines behind ssh, by the system's client and a real server; and which engine Docker's contexts name."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from guardedsocket import silenced
from privatesshd import Server, private_sshd
from test_round_trip import QUESTION, teach
from world import MODEL, Host, wait_until, within


@pytest.fixture(scope="module")
def sshd() -> Iterator[Server]:
    with private_sshd() as server:
        yield server


@pytest.fixture
def remote(here: Host, sshd: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the first host's engine through ssh; no ssh of ours runs before and after."""
    for key, value in {"PATH": f"{sshd.client}:{os.environ['PATH']}", "DOCKER_HOST": ""}.items():
        monkeypatch.setitem(here.environment, key, value)
    yield f"ssh://root@{sshd.address}{here.address.removeprefix('unix://')}"
    wait_until(lambda: not clients(sshd))


@pytest.fixture
def held(here: Host, remote: str, sshd: Server, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A model, and the address of its engine through ssh, which gives no archive of the model: it stays paused until then."""
    del remote  # sets up the client
    container = here.run_script("first", ["/srv"], "import os; os.mkdir('/srv'); open('/srv/file', 'w').close()")
    request = f"GET /v{here.api.api_version}/containers/{container}/archive".encode()
    with silenced(here.address, tmp_path / "socket", request) as silence:
        yield container, f"ssh://root@{sshd.address}{silence.address.removeprefix('unix://')}"
    # A push that ends while it asks for the pause leaves its note to the next command, and none reaches this address again.
    shutil.rmtree(here.home / "state" / "fps-bundle" / "paused", ignore_errors=True)


def clients(sshd: Server) -> list[str]:
    """The command lines of the ssh clients that speak to the server."""
    port = sshd.address.rpartition(":")[2].encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if command[0].endswith(b"ssh") and port in command:
            found.append(b" ".join(command).decode())
    return found


def test_a_model_is_pushed_and_applied_over_ssh(here: Host, there: Host, remote: str, tmp_path: Path) -> None:
    first = here.run(MODEL, "first")
    teach(here, first)
    outcome = here.must("push", "first", str(tmp_path / "x.tar"), "--host", remote)
    assert "model paused for" in outcome.err
    here.must("apply", str(tmp_path / "x.tar"), "--tag", "copy:1", "--host", remote)
    second = here.run("copy:1", "second")
    assert here.ask(second, "predict", text=QUESTION) == here.ask(first, "predict", text=QUESTION)
    local = there.must("apply", str(tmp_path / "x.tar"), "--tag", "copy:1", "--json").json
    assert local["imageID"] == here.api.inspect_image("copy:1")["Id"]


def test_the_direct_reader_is_not_for_another_host(here: Host, remote: str) -> None:
    here.run_script("first", ["/srv"], "import os; os.mkdir('/srv')")
    outcome = here.bundle("push", "first", "x:1", "--host", remote, "--reader", "direct")
    assert outcome.code == 3
    assert "cannot be read directly" in outcome.err


def test_the_migrator_is_reached_through_the_host(here: Host, remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here.run(MODEL, "first")
    here.api.pause("first")
    monkeypatch.setitem(here.environment, "DOCKER_HOST", remote)
    assert "is already paused" in here.bundle("push", "first", "x:1").err
    here.api.unpause("first")
    process = here.start("push", "first", "x:1", "--port", "9", "--wait", "3")
    address = here.address_of("first")
    wait_until(lambda: any(f"{address}:9" in client for client in clients_of(remote)))
    assert f"no Migrator answered at {address}:9" in process.communicate()[1]
    assert process.returncode == 3


def clients_of(remote: str) -> list[str]:
    port = remote.rpartition("@")[2].partition("/")[0]
    return clients(Server(port, Path(), Path()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.replace("root@", "nobody@"), "Permission denied"),
        (lambda url: re.sub(r":\d+/", ":9/", url), "Connection refused"),
        (lambda url: url + ".missing", "open failed"),
        (lambda url: url.replace("127.0.0.1", "no.such.host.invalid"), "resolve"),
    ],
    ids=["user", "port", "socket", "host"],
)
def test_a_host_that_cannot_be_reached_is_told_at_once(here: Host, remote: str, change: object, said: str) -> None:
    started = time.monotonic()
    outcome = here.bundle("push", "first", "--host", change(remote))  # type: ignore[operator]
    assert outcome.code == 4, outcome.err
    assert said in outcome.err
    assert time.monotonic() - started < within(15)


@pytest.mark.parametrize("url", ["ssh://root@host:123456", "ssh://", "ssh://[::1"])
def test_what_is_no_address_is_refused(here: Host, url: str) -> None:
    assert here.bundle("push", "first", "--host", url).code == 2


def test_an_unknown_host_key_is_refused_without_a_question(here: Host, remote: str, sshd: Server) -> None:
    known = sshd.known_hosts.read_text()
    sshd.known_hosts.write_text("")
    try:
        outcome = here.bundle("push", "first", "--host", remote)
    finally:
        sshd.known_hosts.write_text(known)
    assert outcome.code == 4
    assert "Host key verification failed" in outcome.err


def test_a_killed_push_over_ssh_leaves_a_running_model(here: Host, held: tuple[str, str]) -> None:
    container, address = held
    process = here.start("push", "first", "waiting:1", "--host", address)
    wait_until(lambda: here.paused(container))
    process.kill()
    process.communicate()
    wait_until(lambda: not here.paused(container), within(3))


def test_connections_that_the_users_ssh_shares_are_not_ours(
    here: Host, held: tuple[str, str], sshd: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``ControlMaster auto`` the watchdog's ssh would use the connection of the process whose death it waits for."""
    sharing = f"ControlMaster auto\nControlPath {tmp_path}/shared-%C\nControlPersist no\n"
    (tmp_path / "config").write_text(sharing)
    script = (sshd.client / "ssh").read_text().replace("-F none", f"-F {tmp_path}/config")
    (tmp_path / "ssh").write_text(script)
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setitem(here.environment, "PATH", f"{tmp_path}:{here.environment['PATH']}")
    container, address = held
    process = here.start("push", "first", "waiting:1", "--host", address)
    wait_until(lambda: here.paused(container))
    assert list(tmp_path.glob("shared-*")) == []
    process.kill()
    process.communicate()
    wait_until(lambda: not here.paused(container), within(3))


def context(host: Host, name: str, url: str) -> None:
    """What ``docker context create`` writes."""
    directory = host.home / "docker" / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": url}}}))


def test_a_context_names_the_engine(here: Host, remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here.run_script("first", ["/srv"], "import os; os.mkdir('/srv')")
    context(here, "near", here.address)
    context(here, "far", remote)
    for name in ("near", "far"):
        monkeypatch.setitem(here.environment, "DOCKER_CONTEXT", name)
        here.must("push", "first", f"by:{name}")
    monkeypatch.setitem(here.environment, "DOCKER_CONTEXT", "unheard-of")
    outcome = here.bundle("push", "first")
    assert outcome.code == 4
    assert "there is no Docker context 'unheard-of'" in outcome.err
    monkeypatch.setitem(here.environment, "DOCKER_CONTEXT", "")
    (here.home / "docker" / "config.json").write_text(json.dumps({"currentContext": "near"}))
    try:
        here.must("push", "first", "by:current")
    finally:
        (here.home / "docker" / "config.json").unlink()
