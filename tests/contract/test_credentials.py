"""Credentials as Docker keeps them, against a registry that wants a user name and a password."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress
from privateregistry import private_registry

from bundler.bundle import read_bundle
from bundler.errors import AuthorizationError
from bundler.format.reference import RegistryReference
from bundler.stores.registry.store import RegistryStore
from bundler.verbs import copy


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """A registry that lets ``user`` with the password ``secret`` in."""
    if os.environ.get("FPS_BUNDLE_OFFLINE_TESTS") == "1":
        pytest.skip("FPS_BUNDLE_OFFLINE_TESTS=1")
    with private_registry("user", "secret") as address:
        yield address


@pytest.fixture
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


def push_and_read(address: str) -> None:
    source = MemoryStore()
    bundle(source)
    reference = RegistryReference(address, "team/model", "1")
    digest = copy.copy(source, RegistryStore(reference), RecordingProgress()).bundle.digest
    assert read_bundle(RegistryStore(reference)).digest == digest


def install_helper(directory: Path, answer: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper named ``tests``, which notes what it was asked for."""
    asked = directory / "asked"
    helper = directory / "docker-credential-tests"
    helper.write_text(f"#!/bin/sh\ncat > '{asked}'\n{answer}\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    return asked


def give(secret: str) -> str:
    return "echo '" + json.dumps({"ServerURL": "x", "Username": "user", "Secret": secret}) + "'"


def test_auths_are_used(guarded: str, docker_config: Path) -> None:
    auth = base64.b64encode(b"user:secret").decode()
    docker_config.write_text(json.dumps({"auths": {guarded: {"auth": auth}}}))
    push_and_read(guarded)


@pytest.mark.parametrize("setting", ["credHelpers", "credsStore"])
def test_a_credential_helper_is_asked_for_the_registry(
    guarded: str, docker_config: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    asked = install_helper(docker_config.parent, give("secret"), monkeypatch)
    value: Any = {guarded: "tests"} if setting == "credHelpers" else "tests"
    docker_config.write_text(json.dumps({setting: value}))
    push_and_read(guarded)
    assert asked.read_text() == guarded


def test_auths_are_used_where_the_helper_knows_nothing(guarded: str, docker_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_helper(docker_config.parent, "echo 'credentials not found in native keychain'; exit 1", monkeypatch)
    auth = base64.b64encode(b"user:secret").decode()
    docker_config.write_text(json.dumps({"credsStore": "tests", "auths": {guarded: {"auth": auth}}}))
    push_and_read(guarded)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"auths": {"another.example": {"auth": "dXNlcjpzZWNyZXQ="}}},
        {"auths": {}, "credHelpers": None},
        {"auths": None},
        {"auths": "nonsense"},
    ],
)
def test_without_credentials_one_is_not_authorised(guarded: str, docker_config: Path, config: dict[str, Any]) -> None:
    docker_config.write_text(json.dumps(config))
    with pytest.raises(AuthorizationError) as caught:
        push_and_read(guarded)
    assert caught.value.exit_code == 7
    assert "fps-bundle login" in caught.value.command


def test_null_stands_for_no_credentials_of_this_registry(guarded: str, docker_config: Path) -> None:
    docker_config.write_text(json.dumps({"auths": {guarded: None}}))
    with pytest.raises(AuthorizationError):
        push_and_read(guarded)


@pytest.mark.parametrize("answer", [give("wrong"), "echo nonsense", "echo '{}'"], ids=["wrong", "no JSON", "empty"])
def test_a_helper_that_gives_nothing_good_does_not_open(
    guarded: str, docker_config: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    install_helper(docker_config.parent, answer, monkeypatch)
    docker_config.write_text(json.dumps({"credHelpers": {guarded: "tests"}}))
    with pytest.raises(AuthorizationError) as caught:
        push_and_read(guarded)
    assert caught.value.exit_code == 7


def test_a_helper_that_is_not_installed_is_named(guarded: str, docker_config: Path) -> None:
    docker_config.write_text(json.dumps({"credHelpers": {guarded: "not-there"}}))
    with pytest.raises(AuthorizationError, match="docker-credential-not-there"):
        push_and_read(guarded)
