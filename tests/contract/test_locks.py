"""Every wait for a lock is announced and has a limit, also when the process that holds the lock was stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import preloaded
import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress

from bundler.engines import temporary_objects
from bundler.errors import BusyError
from bundler.localfs import locks, state_directory
from bundler.localfs.atomic_file import PartFile, sweep
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout.store import LayoutStore
from bundler.verbs import copy

HELPERS = Path(__file__).parents[1] / "helpers"

_HOLD = """
import fcntl, os, sys
kind = fcntl.LOCK_SH if sys.argv[1] == "shared" else fcntl.LOCK_EX
for path in sys.argv[2:]:
    fcntl.flock(os.open(path, os.O_RDONLY), kind)
print("holds", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    source = MemoryStore()
    bundle(source)
    copy.copy(source, ArchiveStore(tmp_path / "bundle.tar"), RecordingProgress())
    return tmp_path / "bundle.tar"


@contextmanager
def holder(*paths: Path, shared: bool = False, stopped: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds locks, and perhaps was stopped."""
    command = [sys.executable, "-c", _HOLD, "shared" if shared else "alone", *map(str, paths)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"holds\n"
        if stopped:
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
        try:
            yield process
        finally:
            process.kill()


def started(*arguments: str | Path) -> preloaded.Process:
    return preloaded.Process(arguments, text=True)


def file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    return path


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
def test_a_lock_that_another_process_holds_is_told_with_its_pid(shared: bool, tmp_path: Path) -> None:
    path = file(tmp_path / "x.lock")
    with (
        holder(path, shared=shared) as process,
        pytest.raises(BusyError, match=rf"using this \(PID {process.pid}\)") as caught,
        locks.locked(path, "this", 0),
    ):
        pytest.fail("two had it")
    assert caught.value.exit_code == 12
    assert caught.value.hint
    with locks.locked(path, "this", 0):
        pass


def test_all_that_share_a_lock_are_named(tmp_path: Path) -> None:
    path = file(tmp_path / "x.lock")
    with holder(path, shared=True) as one, holder(path, shared=True) as other:
        first, second = sorted((one.pid, other.pid))
        with pytest.raises(BusyError, match=rf"\(PID {first}, {second}\)"), locks.locked(path, "this", 0):
            pytest.fail("three had it")


def test_a_wait_is_announced_once_and_has_a_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = file(tmp_path / "x.lock")
    begun = time.monotonic()
    with holder(path) as process, pytest.raises(BusyError), locks.locked(path, "this", 2):
        pytest.fail("two had it")
    assert 2 <= time.monotonic() - begun < 60
    assert caplog.messages == [f"waiting up to 2 s: another fps-bundle is using this (PID {process.pid})"]


def test_a_short_wait_is_not_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = file(tmp_path / "x.lock")
    with holder(path) as process:
        threading.Timer(0.2, process.kill).start()
        with locks.locked(path, "this", 30):
            pass
    assert caplog.messages == []


def test_a_stopped_holder_is_told_with_the_command_that_resumes_it(tmp_path: Path) -> None:
    path = file(tmp_path / "x.lock")
    with holder(path, stopped=True) as process:
        with pytest.raises(BusyError, match="stopped") as caught, locks.locked(path, "this", 0):
            pytest.fail("two had it")
        assert caught.value.command == f"kill -CONT {process.pid}"


def test_what_one_process_alone_may_do_ends_with_12_at_once() -> None:
    path = file(state_directory.directory() / "locks" / "container-abc.lock")
    with (
        holder(path) as process,
        pytest.raises(BusyError, match=f"the container abc .PID {process.pid}."),
        state_directory.hold("container", "abc"),
    ):
        pytest.fail("two had it")


def test_a_command_waits_for_the_store_says_so_and_goes_on(archive: Path, home: Path) -> None:
    assert started("copy", archive, "model:1").wait(60) == 0
    with holder(home / "store" / "oci-layout") as process:
        listing = started("list")
        assert listing.stderr
        assert f"using the local store (PID {process.pid})" in listing.stderr.readline()
        assert listing.poll() is None
        process.kill()
        out, _ = listing.communicate(timeout=60)
    assert listing.returncode == 0
    assert out.startswith("model:1")


def test_no_command_waits_for_a_stopped_process_for_ever(archive: Path, home: Path) -> None:
    assert started("copy", archive, "model:1").wait(60) == 0
    assert started("copy", archive, f"oci:{home}/layout:1").wait(60) == 0
    files = [home / "store" / "oci-layout", home / "layout" / "oci-layout", home / "store" / "in-use.lock"]
    files.append(file(state_directory.directory() / "locks" / "docker-config.lock"))
    with holder(*files, stopped=True) as process:
        commands = [
            started("list"),
            started("copy", "model:1", f"oci:{home}/layout:2", "--no-verify-written"),
            started("copy", archive, f"oci:{home}/layout:3"),
            started("prune"),
            started("logout", "localhost:1"),
        ]
        for command in commands:
            _, told = command.communicate(timeout=2 * locks.LIMIT)
            assert command.returncode == 12, told
            assert f"(PID {process.pid})" in told
            assert f"kill -CONT {process.pid}" in told


def use_note(state: Path) -> None:
    with temporary_objects.noted(state, "unix:///engine", "image"):
        pass


def write_part(path: Path) -> None:
    with PartFile(path) as part:
        part.write(b"x")
        sweep(path)


def write_layout(path: Path) -> None:
    LayoutStore(path / "layout").prepare()


@pytest.mark.parametrize("use", [use_note, write_part, write_layout])
def test_what_is_new_is_never_waited_for(use: Callable[[Path], None], tmp_path: Path) -> None:
    with holder(tmp_path, stopped=True):
        use(tmp_path)
