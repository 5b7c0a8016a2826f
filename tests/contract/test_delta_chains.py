"""A delta whose source is a delta, and copies of deltas that are interrupted or killed."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

import kills
import preloaded
import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree
from places import files_below
from typer.testing import CliRunner

from bundler.bundle import read_bundle
from bundler.cli.main import app
from bundler.format.reference import LocalReference
from bundler.stores.layout.local import LocalStore, directory
from bundler.verbs import copy

SIZE = 24 << 20


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output if code else result.stdout.strip()


def go_to(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FPS_BUNDLE_STORE", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(host / name.lower()))


def keep(weights: bytes, day: int) -> str:
    """Put the bundle of a day into the local store: with a changed page, and a longer log."""
    place = 4096 * day
    changed = weights[:place] + bytes(100) + weights[place + 100 :]
    memory = MemoryStore()
    bundle(memory, tree(file("/s/weights", changed), file("/s/log", b"a line\n" * day)))
    copy.copy(memory, LocalStore(LocalReference("model", str(day))), RecordingProgress())
    return str(read_bundle(memory).digest)


@pytest.fixture
def digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The bundles of three days in the local store of this host, and the first one on the far host, too."""
    weights = random.Random(1).randbytes(300_000)
    go_to(tmp_path / "there", monkeypatch)
    keep(weights, 1)
    go_to(tmp_path / "here", monkeypatch)
    return [keep(weights, day) for day in (1, 2, 3)]


@pytest.mark.parametrize("kind", ["layout", "registry"])
def test_a_chain_in_one_place_is_followed(
    kind: str, digests: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    place = f"oci:{tmp_path}/layout"
    if kind == "registry":
        place = f"{request.getfixturevalue('registry')}/chains/two"
    run("copy", "model:2", f"{place}:2", "--delta-from", "model:1")
    run("copy", "model:3", f"{place}:3", "--delta-from", "model:2")
    go_to(tmp_path / "there", monkeypatch)
    assert run("verify", f"{place}:3").endswith(digests[2])
    assert run("copy", f"{place}:3", "model:3") == digests[2]
    assert [named.name for named in LocalStore(LocalReference("")).names()] == ["model:1", "model:3"]


def test_a_chain_of_files_is_copied_link_by_link(digests: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (2, 3):
        run("copy", f"model:{day}", f"{tmp_path}/{day}.tar", "--delta-from", f"model:{day - 1}")
    go_to(tmp_path / "there", monkeypatch)
    assert f"@{digests[1]}" in run("copy", f"{tmp_path}/3.tar", "model:3", code=6)
    for day in (2, 3):
        assert run("copy", f"{tmp_path}/{day}.tar", f"model:{day}") == digests[day - 1]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """What `large` is a copy of, and the digests."""
    path, weights = tmp_path_factory.mktemp("hosts"), random.Random(1).randbytes(SIZE)
    with pytest.MonkeyPatch.context() as patch:
        go_to(path / "there", patch)
        keep(weights, 1)
        go_to(path / "here", patch)
        found = [keep(weights, day) for day in (1, 2)]
        run("copy", "model:2", f"{path}/delta.tar", "--delta-from", "model:1")
    return path, found


@pytest.fixture
def large(hosts: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two bundles here, the first of them there, and in files the first one and a delta from it to the second one."""
    path, found = hosts
    shutil.copytree(path, tmp_path, dirs_exist_ok=True)
    go_to(tmp_path / "here", monkeypatch)
    return found


def started(*arguments: str) -> preloaded.Process:
    return preloaded.Process(["copy", *arguments, "--quiet"], text=True)


def blobs() -> set[str]:
    return {path.name for path in files_below(directory() / "blobs")}


@pytest.fixture(params=["make", "rebuild"])
def arguments(request: pytest.FixtureRequest, large: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those of a copy that makes a delta, or rebuilds one, to a name that the first bundle has."""
    if request.param == "make":
        run("copy", "model:1", f"oci:{tmp_path}/layout:1")
        return ["model:2", f"oci:{tmp_path}/layout:1", "--delta-from", "model:1"]
    go_to(tmp_path / "there", monkeypatch)
    assert large[0] in run("copy", "model:1", "taken:1")
    return [f"{tmp_path}/delta.tar", "taken:1"]


@pytest.mark.timeout(600)
def test_a_killed_copy_leaves_the_old_bundle_or_the_new_one(arguments: list[str], large: list[str]) -> None:
    before = blobs()
    makes = arguments[1].startswith("oci:")
    elsewhere = [argument.replace("taken:1", "first:1").replace("layout:1", "first:1") for argument in arguments]
    longest = kills.duration(lambda: started(*elsewhere))
    for seconds in kills.moments(arguments[1][-8:], longest, since=0):
        kills.kill(started(*arguments), seconds)
        assert run("verify", arguments[1]) in large
    run("prune", "--keep", "0")
    assert not makes or blobs() == before
    assert kills.finish(started(*arguments)) == large[1]
    run("prune", "--keep", "0")
    assert not makes or blobs() == before


def test_an_interrupted_copy_leaves_nothing(arguments: list[str], large: list[str]) -> None:
    before = blobs()
    with started(*arguments) as process:
        while blobs() == before and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert run("verify", arguments[1]) == large[0]
    assert blobs() == before
    assert kills.finish(started(*arguments)) == large[1]
