"""Copies to one name at once: both are done, or one is told; what stands there is one of the bundles, whole."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tally
from bundles import noise, verified
from fakes import RecordingProgress
from opened import store
from places import files_below

from bundler.stores.archive.store import ArchiveStore
from bundler.verbs import copy

RACES = int(os.environ.get("FPS_BUNDLE_RACES", "5"))
SIZE = 2 << 20

_COPY = """
import os, sys
from bundler.verbs import copy
from bundler.errors import BundlerError
from fakes import RecordingProgress
from opened import store

print("ready", flush=True)
while line := sys.stdin.readline():
    os.environ["FPS_BUNDLE_STORE"], os.environ["XDG_STATE_HOME"], source, target = line.split()
    try:
        print(copy.copy(store(source), store(target), RecordingProgress()).bundle.digest, flush=True)
    except BundlerError as error:
        print(error.exit_code, error, flush=True)
"""
STORES = {
    "registry": "{registry}/races/{number}:1",
    "archive": "{directory}/{number}.tar",
    "layout": "oci:{directory}/{number}:1",
    "local store": "model-{number}:1",
}


class Copier:
    """A process that copies a bundle whenever it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def outcome(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def begin(self, source: str, target: str) -> None:
        assert self._process.stdin
        places = os.environ["FPS_BUNDLE_STORE"], os.environ["XDG_STATE_HOME"]
        self._process.stdin.write(" ".join([*places, source, target]) + "\n")
        self._process.stdin.flush()


@contextmanager
def copier() -> Iterator[Copier]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "helpers")}
    command = [sys.executable, "-c", _COPY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        ready = Copier(process)
        assert ready.outcome() == "ready"
        yield ready
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def copiers() -> Iterator[tuple[Copier, Copier]]:
    with copier() as one, copier() as other:
        yield one, other


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two archives, and the digests of the bundles in them."""
    directory = tmp_path_factory.mktemp("sources")
    return {
        str(path): str(copy.copy(noise(SIZE, number), ArchiveStore(path), RecordingProgress()).bundle.digest)
        for number, path in enumerate([directory / "one.tar", directory / "other.tar"], start=1)
    }


@pytest.mark.parametrize("kind", STORES)
def test_two_copies_at_once_leave_one_whole_bundle(
    kind: str,
    tmp_path: Path,
    registry: str,
    monkeypatch: pytest.MonkeyPatch,
    copiers: tuple[Copier, Copier],
    sources: dict[str, str],
) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    one, other = copiers
    paths, digests = list(sources), list(sources.values())
    (tmp_path / "there").mkdir()
    for bundles, race in itertools.product((1, 2), range(RACES)):
        target = STORES[kind].format(registry=registry, directory=tmp_path / "there", number=f"{bundles}-{race}")
        one.begin(paths[0], target)
        other.begin(paths[bundles - 1], target)
        said = [one.outcome(), other.outcome()]
        expected = [digests[0], digests[bundles - 1]]
        done = [digest for digest, line in zip(expected, said, strict=True) if line == digest]
        assert done, said
        assert all(line in expected or line.startswith("12 ") for line in said), said
        assert str(verified(store(target))) in done
        tally.count(f"two copies at once of {bundles} bundles to one {kind}", "both done" if len(done) == 2 else "one told")
    assert not [path for path in files_below(tmp_path) if path.name.startswith(".fps-bundle-")]
