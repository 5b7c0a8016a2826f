"""``fps-bundle extract`` from real stores: little is fetched, every form of a bundle gives the same, also to other users."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, Tree, directory, file, link, tree
from faultproxy import fault_proxy
from links import store as remote_store
from typer.testing import CliRunner, Result

from bundler.bundle import read_bundle
from bundler.cli.main import app
from bundler.format.tar import Kind
from bundler.format.toc import Table
from bundler.localfs import staging
from bundler.stores.archive.store import ArchiveStore
from bundler.verbs import copy

NOISE = random.Random(1).randbytes(1 << 20)
NEWER = NOISE[:500_000] + b"learned" + NOISE[500_000:]
SMALL = {f"/s/small/{number:02}": random.Random(number).randbytes(1000) for number in range(20)}


def files(noise: bytes) -> Tree:
    return tree(
        directory("/s"),
        file("/s/noise", noise, uid=os.geteuid(), gid=os.getegid()),
        link("/s/to", Kind.SYMLINK, "noise"),
        directory("/s/small", mode=0o500),
        *(file(path, data, uid=1234, gid=5678) for path, data in SMALL.items()),
    )


@pytest.fixture(autouse=True)
def _homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def memory() -> MemoryStore:
    store = MemoryStore()
    bundle(store, files(NEWER))
    return store


@pytest.fixture
def archive(tmp_path: Path, memory: MemoryStore) -> str:
    copy.copy(memory, ArchiveStore(tmp_path / "bundle.tar", "1"), RecordingProgress())
    return str(tmp_path / "bundle.tar")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def extracted(*arguments: object) -> Result:
    done = run("extract", *arguments)
    assert done.exit_code == 0, done.output
    return done


def contents(top: Path) -> dict[str, bytes]:
    return {f"/{path.relative_to(top)}": path.read_bytes() for path in top.rglob("*") if path.is_file() and not path.is_symlink()}


def test_one_directory_of_a_registry_takes_little_more_than_its_files(registry: str, memory: MemoryStore, tmp_path: Path) -> None:
    with fault_proxy(registry) as proxy:
        done = copy.copy(memory, remote_store(proxy.address, "extract/part"), RecordingProgress()).bundle
        (layer,) = read_bundle(memory).manifest.layers
        table = Table.of(layer)
        assert table
        down, requests = proxy.traffic.down, len(proxy.records)
        extracted(f"{proxy.address}/extract/part:1", tmp_path / "out", "/s/small", "--strip", "/s")
        assert contents(tmp_path / "out") == {path.removeprefix("/s"): data for path, data in SMALL.items()}
        needed = done.manifest.descriptor.size + done.manifest.config.size + table.length + sum(map(len, SMALL.values()))
        assert needed < proxy.traffic.down - down < needed + 20_000
        blobs = [record for record in proxy.records[requests:] if record.method == "GET" and str(layer.digest) in record.path]
        assert len(blobs) == 2, "the table, and all small files at once"


def test_every_form_of_a_bundle_gives_the_same(registry: str, archive: str, tmp_path: Path) -> None:
    old = MemoryStore()
    bundle(old, files(NOISE))
    copy.copy(old, ArchiveStore(tmp_path / "old.tar", "1"), RecordingProgress())
    assert run("copy", tmp_path / "old.tar", "old:1").exit_code == 0
    assert run("copy", archive, tmp_path / "delta.tar", "--delta-from", "old:1").exit_code == 0
    assert run("copy", archive, f"{registry}/extract/split:1", "--split", "256KiB", "--plain-http").exit_code == 0
    expected = {"/s/noise": NEWER, **SMALL}
    for number, source in enumerate([archive, tmp_path / "delta.tar", f"{registry}/extract/split:1"]):
        extracted(source, tmp_path / f"out-{number}")
        assert contents(tmp_path / f"out-{number}") == expected
        told = json.loads(extracted(source, tmp_path / f"out-{number}", "--json", "--quiet").stdout)
        assert (told["files"], told["unchanged"]) == (0, 22)


def test_the_result_is_told(archive: str, tmp_path: Path) -> None:
    planned = extracted(archive, tmp_path / "out", "--dry-run")
    assert "would write 21 files (1.1 MB), 1 link, 2 directories" in planned.output
    assert not (tmp_path / "out").exists()
    assert "wrote 21 files" in extracted(archive, tmp_path / "out").output
    assert "unchanged, all 22 paths are there already" in extracted(archive, tmp_path / "out").output
    (tmp_path / "out/s/noise").write_text("mine")
    done = run("extract", archive, tmp_path / "out")
    assert done.exit_code == 2
    assert "1 file of the target directory would be replaced: /s/noise" in done.output


@pytest.fixture
def home(archive: str) -> Iterator[Path]:
    """The home of another user, with the archive; pytest's own directories are closed to others."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        shutil.copy(archive, home / "bundle.tar")
        os.chown(home, 4321, 4321)
        yield home


def as_user(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the program as a user that owns nothing but its home."""
    environment = {
        **os.environ,
        "HOME": str(home),
        "FPS_BUNDLE_STORE": str(home / "store"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        environment.pop(name, None)
    command: Sequence[str] = (
        "setpriv",
        "--reuid=4321",
        "--regid=4321",
        "--clear-groups",
        sys.executable,
        "-m",
        "bundler",
        "extract",
    )
    return subprocess.run([*command, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_than_root_gets_files_of_its_own(home: Path) -> None:
    archive, out = home / "bundle.tar", home / "out"
    kept = as_user(home, archive, out, "--owner", "keep")
    assert kept.returncode == 2, kept.stderr
    assert "cannot set 24 owners: /s (0:0)" in kept.stderr
    assert "--owner me" in kept.stderr
    assert not out.exists()
    done = as_user(home, archive, out)
    assert done.returncode == 0, done.stderr
    assert contents(out) == {"/s/noise": NEWER, **SMALL}
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in out.rglob("*")} == {(4321, 4321)}
    assert (out / "s/small").stat().st_mode & 0o7777 == 0o500
    assert "unchanged" in as_user(home, archive, out).stderr
    denied = as_user(home, archive, "/denied")
    assert denied.returncode == 5
    assert "Permission denied" in denied.stderr


KILLED = """
import os, sys
from pathlib import Path
from bundler.api import verbs
from bundler.trust.admission import Admission
import bundler

class Progress(bundler.api.verbs.NULL_PROGRESS.__class__):
    def stage(self, text, total=None):
        if text.startswith(sys.argv[3]):
            os.kill(os.getpid(), int(sys.argv[4]))

store = bundler.open_store(sys.argv[1])
bundler.extract(store, Path(sys.argv[2]), admission=Admission.unchecked("a test"), progress=Progress())
"""


@pytest.mark.parametrize(("number", "stays"), [(signal.SIGKILL, True), (signal.SIGINT, False)])
def test_a_run_that_is_killed_leaves_no_file_and_the_next_one_is_complete(
    number: signal.Signals, stays: bool, archive: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", KILLED, archive, str(out), "syncing", str(int(number))]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    assert [path.name for path in out.iterdir()] == ([staging.NAME.decode()] if stays else [])
    extracted(archive, out)
    assert [path.name for path in out.iterdir()] == ["s"]
    assert contents(out) == {"/s/noise": NEWER, **SMALL}
