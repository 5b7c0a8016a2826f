"""``list ARG`` lists what it is given: all of a place, or one name, tag or digest of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress
from opened import store
from typer.testing import CliRunner

from bundler.cli.main import app
from bundler.verbs import copy


@pytest.fixture
def digests(tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two bundles in each place, as 1 and 2, in the local store also as two bundles of another name."""
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    found = []
    for number in (1, 2):
        source = MemoryStore()
        bundle(source, extra=str(number))
        for place in ("one", "two", f"{registry}/list/x", f"oci:{tmp_path}/layout"):
            found.append(str(copy.copy(source, store(f"{place}:{number}"), RecordingProgress()).bundle.digest))
    return [found[0], found[-1]]


def listed(*arguments: str) -> list[tuple[str, str]]:
    done = CliRunner().invoke(app, ["list", "--json", *arguments])
    assert done.exit_code == 0, done.output
    return [(item["name"], item["digest"]) for item in json.loads(done.stdout)]


@pytest.mark.parametrize("place", ["{registry}/list/x", "oci:layout"])
def test_one_tag_or_digest_of_a_place_is_listed(place: str, digests: list[str], registry: str) -> None:
    where, (first, second) = place.format(registry=registry), digests
    assert listed(where) == [("1", first), ("2", second)]
    assert listed(f"{where}:2") == [("2", second)]
    assert listed(f"{where}@{first}") == [("1", first)]


def test_one_name_of_the_local_store_is_listed(digests: list[str]) -> None:
    first, second = digests
    copy.copy(store("one:1"), store("one:2"), RecordingProgress())
    former = (f"one@{second}", second)
    assert [name for name, _ in listed()] == ["one:1", "one:2", former[0], "two:1", "two:2"]
    assert listed("one") == [("one:1", first), ("one:2", first), former]
    assert listed("one:1") == [("one:1", first)]
    assert listed(f"one@{second}") == [former]


@pytest.mark.usefixtures("digests")
@pytest.mark.parametrize("where", ["three", "one:3", "one:latest", "oci:layout:3", f"two@sha256:{'0' * 64}", "{registry}/list/x:3"])
@pytest.mark.parametrize("option", [[], ["--json"], ["--have"]])
def test_what_is_not_there_is_exit_code_6(where: str, option: list[str], registry: str) -> None:
    done = CliRunner().invoke(app, ["list", *option, where.format(registry=registry)])
    assert (done.exit_code, done.stdout) == (6, "")
    assert "no such bundle" in done.stderr
    assert "Available: " in done.stderr


@pytest.mark.parametrize("kind", ["local store", "registry", "layout", "archive"])
def test_a_copy_tells_which_bundle_a_name_was_taken_from(
    kind: str, digests: list[str], registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    first, second = digests
    dest, kept = {
        "local store": ("moved:1", f"moved@{first}"),
        "registry": (f"{registry}/list/moved:1", f"{registry}/list/moved@{first}"),
        "layout": (f"oci:{tmp_path}/moved:1", None),
        "archive": (f"{tmp_path}/moved.tar", None),
    }[kind]
    found = []
    for source in ("one:1", "one:2", "one:2"):
        done = CliRunner().invoke(app, ["copy", source, dest, "--json"])
        assert done.exit_code == 0, done.output
        found.append(json.loads(done.stdout)["displaced"])
    assert found == [None, {"digest": first, "reference": kept}, None]
    done = CliRunner().invoke(app, ["copy", "one:1", dest])
    assert f"replaces another bundle: {second} " in done.stderr
    assert kept is None or [digest for _, digest in listed(kept)] == [first]
