"""The signatures of a bundle go with its deltas, which are signed as the bundle."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import sshkeys
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree
from sshkeys import Key
from typer.testing import CliRunner

from bundler.bundle import read_bundle
from bundler.cli.main import app
from bundler.format.reference import LocalReference
from bundler.stores.layout.local import LocalStore
from bundler.verbs import copy

WEIGHTS = random.Random(1).randbytes(300_000)
EVERYWHERE = pytest.mark.parametrize(
    "place", ["{tmp}/delta.tar", "oci:{tmp}/layout:2", "{registry}:2"], ids=["file", "layout", "registry"], indirect=True
)


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output if code else result.stdout


def go_to(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FPS_BUNDLE_STORE", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(host / name.lower()))


def trust(host: Path, key: Key) -> None:
    """Require a signature by this key on a host."""
    config = host / "xdg_config_home" / "fps-bundle"
    config.mkdir(parents=True)
    (config / "allowed_signers").write_bytes(key.line("alice"))
    (config / "trust.toml").write_text(f'allowed-signers = "{config / "allowed_signers"}"\n')


def keep(name: str, log: bytes) -> str:
    memory = MemoryStore()
    bundle(memory, tree(file("/s/weights", WEIGHTS), file("/s/log", log)))
    repository, _, tag = name.partition(":")
    copy.copy(memory, LocalStore(LocalReference(repository, tag)), RecordingProgress())
    return str(read_bundle(memory).digest)


@pytest.fixture
def alice(tmp_path: Path) -> Key:
    return sshkeys.key(tmp_path / "alice")


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two bundles in the local store of this host, and the first one on the far host, too; gives the digest of the second."""
    go_to(tmp_path / "there", monkeypatch)
    keep("model:1", b"one\n")
    go_to(tmp_path / "here", monkeypatch)
    keep("model:1", b"one\n")
    return keep("model:2", b"one\ntwo\n")


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    named: str = request.param
    if "{registry}" not in named:
        return named.format(tmp=tmp_path)
    return named.format(registry=f"{request.getfixturevalue('registry')}/signed/{tmp_path.name.rstrip('_')}")


def signers(reference: str) -> list[str]:
    """The names under which the signatures of a trusted bundle are known."""
    found = json.loads(run("verify", reference, "--json"))
    assert found["trusted"]
    return [name for signature in found["signatures"] for name in signature["principals"]]


@EVERYWHERE
def test_signatures_go_with_a_delta(place: str, digest: str, alice: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("sign", "model:2", "--sign-key", alice.path)
    run("copy", "model:2", place, "--delta-from", "model:1")
    check_trusted(place, digest, alice, tmp_path, monkeypatch)


@EVERYWHERE
def test_a_delta_is_signed_as_its_target(
    place: str, digest: str, alice: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("copy", "model:2", place, "--delta-from", "model:1")
    run("sign", place, "--sign-key", alice.path)
    check_trusted(place, digest, alice, tmp_path, monkeypatch)


def check_trusted(place: str, digest: str, alice: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The far host requires a signature, and accepts the delta and copies of it."""
    trust(tmp_path / "there", alice)
    go_to(tmp_path / "there", monkeypatch)
    assert signers(place) == ["alice"]
    run("copy", place, f"oci:{tmp_path}/further:2")
    for reference in (place, f"oci:{tmp_path}/further:2"):
        assert run("copy", reference, "model:2").strip() == digest
        assert signers("model:2") == ["alice"]


@EVERYWHERE
def test_an_unsigned_delta_is_refused(place: str, digest: str, alice: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("copy", "model:2", place, "--delta-from", "model:1")
    trust(tmp_path / "there", alice)
    go_to(tmp_path / "there", monkeypatch)
    assert "signature" in run("verify", place, code=9)
    run("copy", place, "model:2", code=9)
    assert digest not in {str(named.manifest.digest) for named in LocalStore(LocalReference("")).names()}
