"""Docker's own client and skopeo find what we keep, and we find what they keep."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import bundle
from dockerlogin import install_keeper, skip_offline
from fakes import MemoryStore, RecordingProgress
from privateengine import ensure
from privateregistry import private_registry

from bundler.format.reference import RegistryReference
from bundler.stores.registry import credentials
from bundler.stores.registry.credentials import Credentials
from bundler.stores.registry.store import RegistryStore
from bundler.verbs import copy

USER = Credentials("user", "secret")


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    skip_offline()
    with private_registry("user", "secret") as address:
        yield address


@pytest.fixture(params=["file", "credHelpers", "credsStore"])
def config(request: pytest.FixtureRequest, guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's configuration, in a directory of its own, with a credential helper or without."""
    directory = tmp_path / "docker"
    monkeypatch.setenv("DOCKER_CONFIG", str(directory))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if request.param != "file":
        install_keeper(tmp_path / "bin", monkeypatch)
        directory.mkdir()
        setting = {"credHelpers": {guarded: "keeper"}, "credsStore": "keeper"}[request.param]
        (directory / "config.json").write_text(json.dumps({request.param: setting}))
    return directory / "config.json"


# containers/image, on which skopeo and Podman are built, does not know "credsStore" (containers-auth.json(5)).
for_skopeo = pytest.mark.parametrize("config", ["file", "credHelpers"], indirect=True)


def docker(*arguments: str, password: str = "") -> subprocess.CompletedProcess[str]:
    """Docker's client, which does its logins itself when no engine answers."""
    environment = {**os.environ, "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    program = ensure("docker", "docker.io")
    return subprocess.run([program, *arguments], env=environment, input=password, capture_output=True, text=True, check=False)


def push(registry: str) -> RegistryReference:
    source = MemoryStore()
    bundle(source)
    reference = RegistryReference(registry, "team/model", "1")
    copy.copy(source, RegistryStore(reference), RecordingProgress())
    return reference


def test_we_find_what_docker_keeps(guarded: str, config: Path) -> None:
    outcome = docker("login", guarded, "--username", "user", "--password-stdin", password="secret")
    assert outcome.returncode == 0, outcome.stderr
    assert credentials.find(guarded) == USER
    push(guarded)
    assert credentials.erase(guarded)
    assert json.loads(config.read_text())["auths"] == {}


def test_docker_finds_what_we_keep(guarded: str, config: Path) -> None:
    credentials.store(guarded, USER)
    reference = push(guarded)
    outcome = docker("manifest", "inspect", "--insecure", str(reference))
    assert outcome.returncode == 0, outcome.stderr
    assert docker("logout", guarded).returncode == 0
    assert credentials.find(guarded) is None
    refused = docker("manifest", "inspect", "--insecure", str(reference))
    assert (refused.returncode, "no basic auth credentials" in refused.stderr or "unauthorized" in refused.stderr) == (1, True)
    assert config.exists()


@for_skopeo
def test_skopeo_finds_what_we_keep(guarded: str, config: Path) -> None:
    credentials.store(guarded, USER)
    reference = push(guarded)
    command = [ensure("skopeo", "skopeo"), "list-tags", "--tls-verify=false", "--authfile", str(config)]
    command.append(f"docker://{guarded}/{reference.repository}")
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout)["Tags"] == ["1"]
    credentials.erase(guarded)
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


@for_skopeo
def test_we_find_what_skopeo_keeps(guarded: str, config: Path) -> None:
    command = [ensure("skopeo", "skopeo"), "login", "--tls-verify=false", "--authfile", str(config)]
    subprocess.run([*command, "--username", "user", "--password-stdin", guarded], input=b"secret", capture_output=True, check=True)
    assert credentials.find(guarded) == USER
