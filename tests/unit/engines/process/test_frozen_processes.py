"""A container is paused by its cgroup of either version, proven to have stood still, and resumed however the pause ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import cgroups
import fakes
import pytest
from cgroups import Cgroup, wait_until

from bundler.engines.process import cgroup, freezer, frozen_cgroup, frozen_proof, identity, pausing
from bundler.engines.process.freezer import Freezer
from bundler.engines.process.identity import ProcessId
from bundler.errors import EngineError, ModelError

pytestmark = cgroups.needs_root

HOLD = """
import sys, time
sys.path.insert(0, sys.argv[2])
import fakes
from bundler.engines.process import cgroup, identity, pausing
process = identity.find(int(sys.argv[1]))
with pausing.paused(fakes.container(), process, cgroup.find(process)):
    print("held", flush=True)
    time.sleep(60)
"""


@dataclass
class Running:
    """A process in a cgroup, and its freezer."""

    process: ProcessId
    freezer: Freezer
    made: Cgroup

    @property
    def state(self) -> str:
        return self.freezer.file.read_text().strip()

    def set(self, *, frozen: bool) -> None:
        values = {1: ("THAWED", "FROZEN"), 2: ("0", "1")}
        self.freezer.file.write_text(values[self.freezer.version][frozen])
        wait_until(lambda: self.freezer.is_frozen == frozen)

    def switches(self) -> list[str]:
        status = (self.process.home / "status").read_text().splitlines()
        return [line for line in status if "ctxt_switches" in line]

    def disturb(self) -> None:
        """Thaw it until it ran, and freeze it again."""
        before = self.switches()
        self.set(frozen=False)
        wait_until(lambda: self.switches() != before)
        self.set(frozen=True)

    def end(self) -> None:
        os.kill(self.process.pid, 9)
        if self.freezer.version == 1:  # where a frozen process gets no signal
            self.set(frozen=False)
        wait_until(lambda: not self.process.is_alive)

    def runs(self) -> bool:
        return not self.freezer.is_asked


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with cgroups.cgroup(request.param) as made:
        process = identity.find(made.start(command=("sh", "-c", "while sleep 0.01; do :; done")))
        found = cgroup.find(process)
        assert (found.version, found.directory) == (request.param, made.directory)
        yield Running(process, found, made)


def pause(running: Running) -> AbstractContextManager[None]:
    return pausing.paused(fakes.container(), running.process, running.freezer)


def notes() -> list[Path]:
    return list(Path(os.environ["XDG_STATE_HOME"]).rglob("*.json"))


def test_all_processes_stand_still_within_the_block(running: Running) -> None:
    with pause(running):
        assert running.freezer.is_frozen
        assert len(notes()) == 1
    assert running.runs()
    assert notes() == []


def test_an_error_in_the_block_resumes(running: Running) -> None:
    with pytest.raises(KeyError), pause(running):
        raise KeyError
    assert running.runs()


def test_a_process_that_was_resumed_by_another_is_found_out(running: Running) -> None:
    with pytest.raises(ModelError, match="another process resumed detector while"), pause(running):
        running.set(frozen=False)
    assert running.runs()
    assert notes() == []


@pytest.mark.parametrize("poll", [0.01, 3600])
def test_a_pause_of_another_process_is_found_out_and_stays(running: Running, poll: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no poll sees it: a thread that ran was scheduled."""
    monkeypatch.setattr(frozen_proof, "POLL", poll)
    with pytest.raises(ModelError, match="resumed detector and paused it again") as failed, pause(running):
        running.disturb()
    assert failed.value.command == running.freezer.thawing
    assert not running.runs()
    subprocess.run(["sh", "-c", failed.value.command], check=True)
    assert running.runs()


def test_what_is_frozen_already_is_left_alone(running: Running) -> None:
    running.set(frozen=True)
    with pytest.raises(ModelError, match="is frozen already"), pause(running):
        pass
    assert not running.runs()
    assert notes() == []


def test_a_process_that_starts_in_a_frozen_cgroup_is_no_fault(running: Running) -> None:
    """As a runtime does for a health check in the container."""
    with cgroups.sleeping(unshared=False) as started, pause(running):
        running.made.add(started)
        time.sleep(3 * frozen_proof.POLL)  # it is looked at meanwhile
    assert running.runs()


def test_a_process_that_ends_while_it_is_paused_is_found_out(running: Running) -> None:
    with pytest.raises(ModelError, match=r"ended while|resumed"), pause(running):
        running.end()
    assert running.runs()


def test_another_process_with_the_same_pid_is_refused(running: Running) -> None:
    former = ProcessId(running.process.pid, "1")
    with pytest.raises(ModelError, match="ended before it was paused"), pausing.paused(fakes.container(), former, running.freezer):
        pass
    assert running.runs()


def held(running: Running) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(running.process.pid), str(Path(fakes.__file__).parent)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    assert running.freezer.is_frozen
    return holder


def test_the_watchdog_resumes_what_a_killed_process_had_paused(running: Running) -> None:
    holder = held(running)
    holder.kill()
    holder.communicate()
    wait_until(running.runs)
    wait_until(lambda: notes() == [])
    assert frozen_cgroup.recover() == []


def test_the_next_command_resumes_when_the_watchdog_was_killed_too(running: Running) -> None:
    holder = held(running)
    watchdog = int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text())
    os.kill(watchdog, 9)
    holder.kill()
    holder.communicate()
    assert not running.runs()
    assert frozen_cgroup.recover() == [f"resumed the paused cgroup {running.freezer.path}"]
    assert running.runs()
    assert notes() == []


def test_a_later_cgroup_of_the_same_path_is_not_resumed(running: Running) -> None:
    holder = held(running)
    watchdog = int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text())
    os.kill(watchdog, 9)
    holder.kill()
    holder.communicate()
    (note,) = notes()
    note.write_text(note.read_text().replace(f" {running.made.directory.stat().st_ino}", " 1"))
    assert frozen_cgroup.recover() == []
    assert not running.runs()
    assert notes() == []


def test_processes_that_do_not_stop_in_time_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waits for a disk does not stop: a directory of files, in which nothing happens by itself, stands for it."""
    monkeypatch.setattr(freezer, "FREEZE_TIMEOUT", 0.05)
    for name, text in (("cgroup.freeze", "0"), ("cgroup.events", "populated 1\nfrozen 0\n")):
        (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match="could not all be stopped"):
        Freezer(2, tmp_path, "/stuck").freeze()
    assert (tmp_path / "cgroup.freeze").read_text() == "0"


def test_a_cgroup_that_stays_frozen_is_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezer, "THAW_TIMEOUT", 0.05)
    for name, text in (("cgroup.freeze", "1"), ("cgroup.events", "populated 1\nfrozen 1\n")):
        (tmp_path / name).write_text(text)
    with pytest.raises(EngineError, match="still frozen") as failed:
        Freezer(2, tmp_path, "/stuck").thaw()
    assert failed.value.command == f"echo 0 > {tmp_path}/cgroup.freeze"


def test_a_cgroup_that_was_removed_is_not_frozen(tmp_path: Path) -> None:
    removed = Freezer(1, tmp_path / "removed", "/removed")
    assert not removed.is_frozen
    removed.thaw()
    with pytest.raises(ModelError, match="was removed"):
        removed.freeze()
