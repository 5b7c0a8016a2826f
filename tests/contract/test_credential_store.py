"""What is written into Docker's configuration, and found again; no registry is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dockerlogin import basic, install_keeper

from bundler.errors import AuthorizationError
from bundler.stores.registry import credentials
from bundler.stores.registry.credentials import HUB_KEY, Credentials

HOST = "registry.example:5000"
USER = Credentials("user", "pass:word")
TOKEN = Credentials("", "", "refresh")


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "docker" / "config.json"


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return install_keeper(tmp_path / "bin", monkeypatch)


def write(config: Path, content: Any) -> None:
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps(content))


def read(config: Path) -> Any:
    return json.loads(config.read_text())


@pytest.mark.parametrize("given", [USER, TOKEN])
@pytest.mark.parametrize("registry", [HOST, "docker.io"])
def test_what_is_stored_is_found_until_it_is_erased(config: Path, registry: str, given: Credentials) -> None:
    kept = credentials.store(registry, given)
    assert (kept.where, kept.plain) == (str(config), True)
    assert credentials.find(registry) == given
    assert credentials.erase(registry)
    assert credentials.find(registry) is None
    assert not credentials.erase(registry)


@pytest.mark.parametrize("given", [USER, TOKEN])
@pytest.mark.parametrize("setting", [{"credsStore": "keeper"}, {"credHelpers": {HOST: "keeper"}, "credsStore": "not-there"}])
def test_a_helper_keeps_the_secret_and_the_file_does_not(
    config: Path, keeper: Path, setting: dict[str, Any], given: Credentials
) -> None:
    write(config, {**setting, "auths": {HOST: basic("old", "secret")}})
    kept = credentials.store(HOST, given)
    assert (kept.where, kept.plain) == ("docker-credential-keeper", False)
    assert read(config) == {**setting, "auths": {HOST: {}}}
    assert credentials.find(HOST) == given
    assert credentials.erase(HOST)
    assert not keeper.exists()
    assert read(config) == {**setting, "auths": {}}
    assert not credentials.erase(HOST)


def test_a_helper_keeps_an_identity_token_as_docker_does(config: Path, keeper: Path) -> None:
    write(config, {"credsStore": "keeper"})
    credentials.store("docker.io", TOKEN)
    assert json.loads(keeper.read_text()) == {"ServerURL": HUB_KEY, "Username": "<token>", "Secret": "refresh"}


def test_an_empty_helper_of_a_registry_keeps_the_general_one_away(config: Path) -> None:
    write(config, {"credsStore": "not-there", "credHelpers": {HOST: ""}})
    assert credentials.store(HOST, USER).plain
    assert credentials.find(HOST) == USER


@pytest.mark.parametrize(
    "key", [HOST, f"https://{HOST}", f"https://{HOST}/v1/", f"http://{HOST}", f"{HOST}/", f"https://{HOST}/v2/"]
)
def test_a_registry_is_found_and_erased_in_every_spelling(config: Path, key: str) -> None:
    write(config, {"auths": {"other.example": basic("other", "x"), key: basic("user", "pass:word")}})
    assert credentials.find(HOST) == USER
    assert credentials.erase(HOST)
    assert list(read(config)["auths"]) == ["other.example"]


@pytest.mark.parametrize("registry", ["docker.io", "index.docker.io", "registry-1.docker.io"])
@pytest.mark.parametrize("key", [HUB_KEY, "docker.io", "index.docker.io"])
def test_docker_hub_has_many_names(config: Path, registry: str, key: str) -> None:
    write(config, {"auths": {key: basic("user", "pass:word")}})
    assert credentials.find(registry) == USER


@pytest.mark.parametrize("key", ["registry.example", f"sub.{HOST}", f"https://other.example/{HOST}", f"{HOST}0"])
def test_another_host_gets_nothing(config: Path, key: str) -> None:
    write(config, {"auths": {key: basic("user", "pass:word")}})
    assert credentials.find(HOST) is None


def test_the_very_key_comes_before_its_other_spellings(config: Path) -> None:
    write(config, {"auths": {f"https://{HOST}": basic("old", "x"), HOST: basic("user", "pass:word")}})
    assert credentials.find(HOST) == USER


def test_everything_else_in_the_file_stays(config: Path) -> None:
    other = {
        "HttpHeaders": {"X": "é"},
        "auths": {"other.example": {**basic("o", "p"), "email": "a@b"}},
        "currentContext": "far",
        "n": [1, None],
    }
    write(config, other)
    credentials.store(HOST, USER)
    assert read(config) == {**other, "auths": {**other["auths"], HOST: basic("user", "pass:word")}}
    credentials.erase(HOST)
    assert read(config) == other


def test_the_file_is_ours_alone_and_its_directory_too(config: Path) -> None:
    credentials.store(HOST, USER)
    assert (config.stat().st_mode & 0o777, config.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    config.chmod(0o644)
    credentials.store(HOST, TOKEN)
    assert config.stat().st_mode & 0o777 == 0o600
    assert list(config.parent.iterdir()) == [config]


def test_the_file_stays_its_users_when_root_writes(config: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    write(config, {})
    os.chown(config, 1234, 2345)
    credentials.store(HOST, USER)
    assert (config.stat().st_uid, config.stat().st_gid) == (1234, 2345)


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_one(config: Path, tmp_path: Path, exists: bool) -> None:
    real = tmp_path / "dotfiles" / "docker.json"
    real.parent.mkdir()
    if exists:
        real.write_text('{"currentContext": "far"}')
    config.parent.mkdir()
    config.symlink_to("../dotfiles/docker.json")
    credentials.store(HOST, USER)
    assert config.is_symlink()
    assert ("currentContext" in read(real)) is exists
    assert credentials.find(HOST) == USER


def test_nothing_is_written_where_nothing_was_to_forget(config: Path) -> None:
    assert not credentials.erase(HOST)
    assert not config.parent.exists()


def test_logins_at_the_same_time_all_stay(config: Path) -> None:
    program = (
        "from bundler.stores.registry import credentials as c; c.store(__import__('sys').argv[1], c.Credentials('user', 'secret'))"
    )
    hosts = [f"{number}.example" for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda host: subprocess.run([sys.executable, "-c", program, host], check=True), hosts))
    assert sorted(read(config)["auths"]) == hosts


@pytest.mark.parametrize("content", ["{", "[]", "null", '"text"', '{"auths": {"a": "\xff"}', '{"auths": "text"}', '{"auths": []}'])
def test_a_damaged_file_is_told_and_left_as_it_is(config: Path, content: str) -> None:
    config.parent.mkdir()
    config.write_text(content, encoding="latin-1")
    with pytest.raises(AuthorizationError, match=r"config\.json") as caught:
        credentials.store(HOST, USER)
    assert caught.value.hint
    assert config.read_text(encoding="latin-1") == content


def test_a_file_without_a_byte_is_an_empty_one(config: Path) -> None:
    config.parent.mkdir()
    config.touch()
    assert credentials.find(HOST) is None
    credentials.store(HOST, USER)
    assert credentials.find(HOST) == USER


@pytest.mark.parametrize(
    "auth", ["====", "aHVudGVyMg==", "aHVudGVyMv////8=", 7], ids=["no base64", "no colon", "no UTF-8", "no text"]
)
def test_damaged_credentials_are_told_without_showing_them(config: Path, auth: Any) -> None:
    write(config, {"auths": {HOST: {"auth": auth}}})
    with pytest.raises(AuthorizationError, match=HOST) as caught:
        credentials.find(HOST)
    assert "fps-bundle login" in caught.value.hint
    assert not shown(caught.value, "hunter2", "hunter", "aHVudGVy", "0xff")


@pytest.mark.parametrize("answer", ["hunter2", '{"Username": "u", "Secret": ["hunter2"]}', '{"Username": "hunter2"}'])
def test_a_helper_that_answers_nonsense_is_named_and_not_quoted(config: Path, keeper: Path, answer: str) -> None:
    write(config, {"credsStore": "keeper"})
    (keeper.parent / "docker-credential-keeper").write_text(f"#!/bin/sh\necho '{answer}'\n")
    with pytest.raises(AuthorizationError, match="docker-credential-keeper") as caught:
        credentials.find(HOST)
    assert not shown(caught.value, "hunter2")


def test_a_helper_that_keeps_nothing_is_named_and_not_quoted(config: Path, keeper: Path) -> None:
    write(config, {"credsStore": "keeper"})
    (keeper.parent / "docker-credential-keeper").write_text("#!/bin/sh\ntee /dev/stderr\nexit 1\n")
    secret = Credentials("user", "hunter2")
    with pytest.raises(AuthorizationError, match="docker-credential-keeper") as caught:
        credentials.store(HOST, secret)
    assert not shown(caught.value, "hunter2")
    assert read(config) == {"credsStore": "keeper"}


def test_credentials_do_not_show_their_secrets() -> None:
    assert "word" not in repr(USER)
    assert "refresh" not in repr(TOKEN)


def shown(error: AuthorizationError, *secrets: str) -> list[str]:
    """Which secrets a traceback gives away."""
    trace = "".join(traceback.format_exception(error)) + error.hint
    return [secret for secret in secrets if secret in trace]
