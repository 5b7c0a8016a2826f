"""Copies to one name at once: both are done, or one is told; what stands there is one of the bundles, whole."""

from __future__ import annotations

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
import sys
from bundler.verbs import copy
from bundler.errors import BundlerError
from fakes import RecordingProgress
from opened import store

source, targets = sys.argv[1], sys.argv[2:]
for target in targets:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        print(copy.copy(store(source), store(target), RecordingProgress()).bundle.digest, flush=True)
    except BundlerError as error:
        print(error.exit_code, error, flush=True)
"""


class Copier:
    """A process that copies one bundle to each of several targets in turn, each when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def go(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()


@contextmanager
def copier(source: str, targets: list[str]) -> Iterator[Copier]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "helpers")}
    command = [sys.executable, "-c", _COPY, source, *targets]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield Copier(process)
        process.communicate(timeout=60)


@pytest.mark.parametrize("bundles", [1, 2])
@pytest.mark.parametrize("kind", ["registry", "archive", "layout", "local store"])
def test_two_copies_at_once_leave_one_whole_bundle(
    kind: str, bundles: int, tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sources = [f"{tmp_path}/source-{number}.tar" for number in (1, 2)]
    digests = [
        str(copy.copy(noise(SIZE, number % bundles), ArchiveStore(Path(path)), RecordingProgress()).bundle.digest)
        for number, path in enumerate(sources)
    ]
    (tmp_path / "there").mkdir()
    name = {
        "registry": f"{registry}/races/{bundles}/{{}}:1",
        "archive": f"{tmp_path}/there/{{}}.tar",
        "layout": f"oci:{tmp_path}/there/{{}}:1",
        "local store": "model-{}:1",
    }[kind]
    targets = [name.format(number) for number in range(RACES)]
    with copier(sources[0], targets) as one, copier(sources[1], targets) as other:
        for target in targets:
            assert (one.line(), other.line()) == ("ready", "ready")
            one.go()
            other.go()
            said = [one.line(), other.line()]
            done = [digest for digest, line in zip(digests, said, strict=True) if line == digest]
            assert done, said
            assert all(line in digests or line.startswith("12 ") for line in said), said
            assert str(verified(store(target))) in done
            tally.count(f"two copies at once of {bundles} bundles to one {kind}", "both done" if len(done) == 2 else "one told")
    assert not [path for path in files_below(tmp_path) if path.name.startswith(".fps-bundle-")]
