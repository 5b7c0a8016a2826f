"""The model is never left paused, however the program ends."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import preloaded
import pytest
from guardedsocket import Silence, silenced
from world import Host, wait_until, within

from bundler.engines.docker import DockerEngine
from bundler.errors import INTERRUPTED, EngineError

BIG = "import os; os.mkdir('/srv')\nwith open('/srv/big','wb') as f:\n for _ in range(400): f.write(os.urandom(1 << 20))"


@pytest.fixture
def model(here: Host) -> str:
    """A running model."""
    return here.run_script("first", ["/srv"], "import os; os.mkdir('/srv'); open('/srv/file', 'w').close()")


@pytest.fixture
def silence(here: Host, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Silence]:
    """The engine of the first host, as all programs there reach it, gives no archive of the model."""
    what = "export" if here.is_podman else "archive"
    request = f"GET /v{here.api.api_version}/containers/{model}/{what}".encode()
    with silenced(here.address, tmp_path / "socket", request) as silence:
        monkeypatch.setitem(here.environment, "DOCKER_HOST", silence.address)
        yield silence
    # A push that ends while it asks for the pause leaves its note to the next command, and none reaches this address again.
    shutil.rmtree(here.home / "state" / "fps-bundle" / "paused", ignore_errors=True)


def push(host: Host, container: str) -> preloaded.Process:
    """A push that has paused the model, and waits for the engine to give its files."""
    process = host.start("push", "first", "waiting:1", "--reader", "api")
    wait_until(lambda: host.paused(container))
    return process


def children(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(status.parent.name))
    return found


@pytest.mark.operation("pause")
@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize("sign", list(INTERRUPTED))
def test_an_interrupted_push_resumes_the_model_and_leaves_nothing(here: Host, model: str, sign: signal.Signals) -> None:
    before = here.must("list").out
    process = push(here, model)
    process.send_signal(sign)
    _, err = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED[sign], err
    assert not here.paused(model)
    assert here.must("list").out == before
    assert here.leftovers() == []


@pytest.mark.operation("pause")
def test_a_killed_push_leaves_a_running_model(here: Host, model: str, silence: Silence) -> None:
    process = push(here, model)
    process.kill()
    process.communicate()
    wait_until(lambda: not here.paused(model), within(2))
    silence.end()
    here.must("push", "first", "big:1", "--quiet", "--reader", "api")


@pytest.mark.operation("pause")
@pytest.mark.usefixtures("silence")
def test_the_next_command_mends_what_a_killed_watchdog_could_not(here: Host, model: str) -> None:
    process = push(here, model)
    (watchdog,) = children(process.pid)
    os.kill(watchdog, signal.SIGKILL)
    process.kill()
    process.communicate()
    assert here.paused(model)
    assert "interrupted run: resumed the paused container" in here.must("doctor").err
    assert not here.paused(model)
    assert "interrupted run" not in here.must("doctor").err


def test_the_doctor_tells_of_what_it_cannot_mend_itself(here: Host, model: str) -> None:
    journals = here.home / "state" / "fps-bundle" / "paused"
    journals.mkdir(parents=True, exist_ok=True)
    elsewhere, damaged = journals / f"{'e' * 64}.json", journals / f"{model}.json"
    elsewhere.write_text(json.dumps({"host": "ssh://root@elsewhere", "container": "e" * 64}))
    damaged.write_text("{")
    here.api.pause(model)
    try:
        outcome = here.bundle("doctor")
    finally:
        here.api.unpause(model)
        elsewhere.unlink()
        damaged.unlink()
    assert outcome.code == 4
    assert "eeeeeeeeeeee on ssh://root@elsewhere" in outcome.out
    assert "fps-bundle doctor --host ssh://root@elsewhere" in outcome.out
    assert f"{model[:12]} possibly; its journal is damaged. Check the container and resume it, then delete {damaged}" in outcome.out
    here.must("doctor")


def test_a_model_that_somebody_pauses_after_us_is_left_alone(here: Host, model: str) -> None:
    here.must("push", "first", "big:1")
    here.api.pause(model)
    here.must("doctor")
    assert here.paused(model)


@pytest.mark.operation("pause")
def test_an_engine_that_falls_silent_costs_the_model_no_more_than_the_limit(here: Host, model: str, silence: Silence) -> None:
    engine = DockerEngine(silence.address, silence=1)
    found = engine.container("first")
    entries = engine.reader(found, "api").entries(["/srv"])
    with pytest.raises(EngineError, match="timeout while reading"), engine.paused(found):
        next(entries)
    assert not here.paused(model)
