"""A copy that is killed leaves the old bundle or the new one, whole; the same command again makes it good."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import kills
import preloaded
import pytest
import tally
from bundles import noise, verified
from fakes import MemoryStore, RecordingProgress
from opened import store
from places import files_below

from bundler.verbs import copy

SIZE = 12 << 20


@dataclass(frozen=True)
class Way:
    """From where to where: references with ``{dir}``, ``{registry}`` and a ``{number}`` for the round."""

    name: str
    source: str
    target: str

    def __str__(self) -> str:
        return self.name


WAYS = [
    Way("layout to archive", "oci:{dir}/layout:1", "{dir}/there/bundle.tar"),
    Way("registry to local store", "{registry}/kills/source:1", "model:1"),
    Way("local store to registry", "sent:1", "{registry}/kills/target-{number}:1"),
]


@pytest.fixture
def names(tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], str]:
    """Fills a reference in."""
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return lambda text, number: text.format(dir=tmp_path, registry=registry, number=number)


def start_copy(source: str, target: str) -> preloaded.Process:
    return preloaded.Process(["copy", source, target, "--quiet"], text=True)


def put(source: MemoryStore, name: str) -> None:
    copy.copy(source, store(name), RecordingProgress())


def leftovers(directory: Path) -> list[str]:
    return [path.name for path in files_below(directory) if path.name.startswith(".fps-bundle-")]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_killed_copy_leaves_a_whole_bundle(way: Way, names: Callable[[str, int], str], tmp_path: Path) -> None:
    old, new = noise(SIZE // 8, 1), noise(SIZE, 2)
    digests = {old.tags["1"].digest: "the old one stood", new.tags["1"].digest: "the new one stood"}
    source = names(way.source, 0)

    def prepare(number: int) -> str:
        for directory in ("there", "store"):
            shutil.rmtree(tmp_path / directory, ignore_errors=True)
        (tmp_path / "there").mkdir()
        target = names(way.target, number)
        put(new, source)
        put(old, target)
        return target

    longest = kills.duration(partial(start_copy, source, prepare(0)))
    for number, moment in enumerate(kills.moments(str(way), longest, since=0), start=1):
        target = prepare(number)
        kills.kill(start_copy(source, target), moment)
        tally.count(f"kill -9 of copy from {way} (FPS_BUNDLE_SEED={kills.SEED})", digests[verified(store(target))])
        assert kills.finish(start_copy(source, target)) == str(new.tags["1"].digest)
        assert verified(store(target)) == new.tags["1"].digest
        assert leftovers(tmp_path) == []
