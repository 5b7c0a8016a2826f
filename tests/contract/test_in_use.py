"""No blob is deleted that another process may be counting on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree

from bundler.bundle import read_bundle
from bundler.errors import BusyError
from bundler.format.content import Descriptor
from bundler.format.reference import LocalReference
from bundler.stores.layout.local import LocalSpool, LocalStore
from bundler.stores.layout.prune import prune
from bundler.verbs import copy

HELPERS = Path(__file__).parents[1] / "helpers"
ROUNDS = int(os.environ.get("FPS_BUNDLE_RACES", "6"))

_HOLD = """
import sys
from bundler.errors import BusyError
from bundler.stores.layout.prune import prune
from bundler.stores.layout.local import LocalSpool
LocalSpool().reserve(0)
print("holds", flush=True)
for line in sys.stdin:
    try:
        print(len(prune(0, dry_run=False).leftovers), flush=True)
    except BusyError as error:
        print(error.message, flush=True)
"""

_WORK = """
import os, sys, time
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree
from bundler.verbs import copy
from bundler.errors import BusyError
from bundler.format.reference import LocalReference
from bundler.stores.layout.local import LocalSpool, LocalStore
from bundler.stores.layout.prune import prune

what, count = sys.argv[1], int(sys.argv[2])

class Slow(MemoryStore):
    # what is new to the store takes its time, while what is shared was found there already
    def open(self, blob, begun=None):
        time.sleep(0.004)
        return super().open(blob, begun)

def work(number):
    if what == "prune":
        return prune(0, dry_run=False)
    source = Slow()
    bundle(source, tree(file("/s/f", b"shared" * 100)), created=f"2026-01-01T00:00:{number:02}Z", extra=what)
    reference = LocalReference(what, str(number))
    copy.copy(source, LocalStore(reference), RecordingProgress())
    if what == "forget":
        LocalSpool().forget(reference)

print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    if not os.fork():  # each round is a process of its own, so that now and then one is alone
        try:
            work(number)
        except BusyError:
            os._exit(what != "prune")
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@contextmanager
def started(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of its own, which ends when its input does."""
    environment = {**os.environ, "PYTHONPATH": str(HELPERS)}
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        said(process)
        yield process
        process.communicate(timeout=60)
    assert process.returncode == 0


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def ask(process: subprocess.Popen[str]) -> str:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()
    return said(process)


def come(name: str) -> list[Descriptor]:
    source = MemoryStore()
    bundle(source, tree(file("/s/f", name.encode())))
    return list(copy.copy(source, LocalStore(LocalReference(name)), RecordingProgress()).bundle.manifest.blobs)


def blobs(store: Path) -> list[Path]:
    return list((store / "blobs" / "sha256").iterdir())


def test_blobs_stay_while_another_process_uses_the_store(store: Path) -> None:
    dropped = come("dropped")
    come("forgotten")
    with started(_HOLD) as other:
        LocalSpool().forget(LocalReference("forgotten"))
        LocalSpool().drop(dropped)
        assert {named.name for named in LocalStore(LocalReference("")).names()} == {"dropped:latest"}
        assert len(blobs(store)) == 6
        with pytest.raises(BusyError, match=rf"using the local store \(PID {other.pid}\)") as caught:
            prune(0, dry_run=False)
        assert caught.value.exit_code == 12
        # this process could not delete, and still counts as a user
        assert "using the local store" in ask(other)
        assert len(blobs(store)) == 6
    assert len(prune(0, dry_run=False).leftovers) == 1
    assert len(blobs(store)) == 3


def test_a_process_that_deleted_still_counts_as_a_user(store: Path) -> None:
    come("forgotten")
    LocalSpool().forget(LocalReference("forgotten"))
    assert blobs(store) == []
    with started(_HOLD) as other:
        assert "using the local store" in ask(other)


def test_bundles_of_many_processes_have_no_holes() -> None:
    with ExitStack() as stack:
        works = {"one": ROUNDS, "two": ROUNDS, "forget": 2 * ROUNDS, "prune": 4 * ROUNDS}
        for process in [stack.enter_context(started(_WORK, what, str(count))) for what, count in works.items()]:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
    found = LocalStore(LocalReference(""))
    assert {named.name for named in found.names()} == {f"{name}:{number}" for name in ("one", "two") for number in range(ROUNDS)}
    for named in found.names():
        for blob in read_bundle(found, named.manifest).manifest.blobs:
            with found.open(blob) as content:
                content.read()
