"""A bundle goes as its differences from another one, and every command reads these as the bundle."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from bundles import bundle, verified
from fakes import MemoryStore, RecordingProgress, file, tree
from typer.testing import CliRunner

from bundler.bundle import read_bundle
from bundler.cli.main import app
from bundler.format.reference import LocalReference
from bundler.stores.layout.local import LocalStore
from bundler.verbs import copy

SIZE = 9 << 20


def run(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == code, result.output + str(result.exception)
    return json.loads(result.stdout) if code == 0 else result.stderr


@pytest.fixture
def weights() -> bytes:
    return random.Random(1).randbytes(SIZE)


@pytest.fixture
def old(weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The digest of a bundle in the local store."""
    go_to(tmp_path / "here", monkeypatch)
    return keep("model:1", weights, b"first line\n" * 1000)


@pytest.fixture
def new(old: str, weights: bytes) -> str:  # noqa: ARG001 - it is the next one
    """The digest of the bundle of the next day: a page of the weights and the log are others."""
    changed = weights[:5000000] + bytes(4096) + weights[5004096:]
    return keep("model:2", changed, b"first line\n" * 1000 + b"second line\n")


def go_to(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(host / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(host / "state"))


def keep(name: str, weights: bytes, log: bytes) -> str:
    memory = MemoryStore()
    bundle(memory, tree(file("/s/weights", weights), file("/s/log", log), file("/s/config", b"same")))
    repository, _, tag = name.partition(":")
    copy.copy(memory, LocalStore(LocalReference(repository, tag)), RecordingProgress())
    return str(read_bundle(memory).digest)


@pytest.mark.parametrize("kind", ["file", "layout", "registry"])
def test_a_delta_makes_the_bundle_where_the_source_is(
    old: str, new: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    target = {"file": f"{tmp_path}/delta.tar", "layout": f"oci:{tmp_path}/layout:2"}.get(kind) or (
        f"{request.getfixturevalue('registry')}/delta/{tmp_path.name.rstrip('_')}:2"
    )
    sent = run("copy", "model:2", target, "--delta-from", "model:1")
    assert sent["digest"] == new
    assert sent["delta"]["source"] == old
    assert sent["sent"] <= sent["delta"]["size"] < 20000
    inspected = run("inspect", target)
    assert (inspected["digest"], inspected["delta"]) == (new, sent["delta"])
    assert run("verify", target)["digest"] == new
    assert run("copy", target, "model:rebuilt")["digest"] == new
    verified(LocalStore(LocalReference("model", "rebuilt")))


def test_the_source_is_chosen_from_a_list_of_the_other_host(old: str, new: str, tmp_path: Path) -> None:
    kept = keep("other:1", random.Random(2).randbytes(1000), b"other\n")
    listed = CliRunner().invoke(app, ["list", "--have"])
    (tmp_path / "all.json").write_text(listed.stdout)
    content = json.loads(listed.stdout)
    content["bundles"] = [it for it in content["bundles"] if it["digest"] in (old, kept)]
    (tmp_path / "have.json").write_text(json.dumps(content))
    sent = run("copy", "model:2", str(tmp_path / "x.tar"), "--delta-from", str(tmp_path / "have.json"))
    assert sent["delta"]["source"] == old
    assert "has it already" in run("copy", "model:2", str(tmp_path / "y.tar"), "--delta-from", str(tmp_path / "all.json"), code=2)
    content["bundles"] = []
    (tmp_path / "none.json").write_text(json.dumps(content))
    refused = run("copy", "model:2", str(tmp_path / "y.tar"), "--delta-from", str(tmp_path / "none.json"), code=6)
    assert "none of the bundles" in refused
    assert not (tmp_path / "y.tar").exists()
    assert new


def test_an_invalid_delta_under_another_name_is_skipped_with_a_warning(old: str, new: str, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    run("copy", "model:1", f"oci:{layout}:1")
    for name in ("broken", "2"):
        run("copy", "model:2", f"oci:{layout}:{name}", "--delta-from", "model:1")
    index = json.loads((layout / "index.json").read_text())
    broken = next(it for it in index["manifests"] if it["annotations"]["org.opencontainers.image.ref.name"] == "broken")
    data = (
        (layout / "blobs/sha256" / broken["digest"].removeprefix("sha256:"))
        .read_bytes()
        .replace(b'"schemaVersion":2', b'"schemaVersion":3')
    )
    broken["digest"] = f"sha256:{hashlib.sha256(data).hexdigest()}"
    (layout / "blobs/sha256" / broken["digest"].removeprefix("sha256:")).write_bytes(data)
    (layout / "index.json").write_text(json.dumps(index))
    listed = CliRunner().invoke(app, ["list", f"oci:{layout}"])
    assert listed.exit_code == 0
    assert "skipped broken" in listed.stderr
    assert new[7:19] in listed.stdout
    assert run("inspect", f"oci:{layout}@{new}")["digest"] == new
    run("inspect", f"oci:{layout}:broken", code=8)
    assert old
