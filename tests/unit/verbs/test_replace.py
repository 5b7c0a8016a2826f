"""Which containers may be replaced, when the new one counts as ready, and what is told when it does not get ready."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import pytest
from applied import UNCONFIGURED
from bundles import bundle
from fakes import FakeEngine, MemoryStore, RecordingProgress, ScriptedModel, container

from bundler.errors import BusyError, ModelError, UsageError
from bundler.localfs import state_directory
from bundler.ports import Container, HealthCheck
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import replace as replacing
from bundler.verbs.apply import ApplyOptions
from bundler.verbs.replace import ReplaceOptions, ReplaceResult

CHECK = HealthCheck(1, 1, 1)
QUICK = ReplaceOptions(ready_timeout=0.3)
SILENT = container(id="s" * 64, instance="1", exposed=(), addresses=())
"""A container without a health check, whose Migrator cannot be found."""


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@contextmanager
def answering(found: Container, wait: float) -> Iterator[ScriptedModel]:
    assert found.addresses
    assert wait > 0
    yield ScriptedModel()


@contextmanager
def mute(found: Container, wait: float) -> Iterator[ScriptedModel]:
    del found, wait
    raise ModelError("no Migrator answered")
    yield ScriptedModel()


def replace(
    engine: FakeEngine,
    options: ReplaceOptions = QUICK,
    connect: Any = answering,
    progress: RecordingProgress | None = None,
    **how: Any,
) -> ReplaceResult:
    source = MemoryStore()
    bundle(source)
    return replacing.replace(
        "detector",
        source,
        engine,
        connect,
        LocalSpool(),
        progress or RecordingProgress(),
        admission=UNCONFIGURED,
        options=ApplyOptions(tag="copy:1", **how),
        replacing=options,
    )


def test_a_container_is_replaced_by_one_of_the_new_image() -> None:
    engine = FakeEngine()
    result = replace(engine)
    assert result.replaced
    assert (result.replaced.ready, result.replaced.previous) == ("Migrator", "detector-previous")
    assert result.replaced.image_id == result.applied.image_id
    assert engine.events == [f"start copy:1 ({result.applied.image_id[:12]}) in place of detector, with its own /s"]


def test_a_container_that_runs_the_image_already_is_left_as_it_is() -> None:
    engine = FakeEngine()
    first = replace(engine)
    engine.one = changed(engine.one, image_id=first.applied.image_id)
    engine.events.clear()
    again = replace(engine)
    assert again.applied.existed
    assert again.replaced
    assert again.replaced.ready == ""
    assert engine.events == []


def test_a_dry_run_replaces_nothing() -> None:
    engine = FakeEngine()
    assert replace(engine, dry_run=True).replaced is None
    assert engine.events == engine.loads == []


@pytest.mark.parametrize(
    ("labels", "who", "command"),
    [
        (
            {"com.docker.compose.project": "site", "com.docker.compose.service": "detector; x"},
            "Docker Compose",
            "docker compose --project-name site up --detach 'detector; x'",
        ),
        (
            {"io.podman.compose.project": "site", "io.podman.compose.service": "detector"},
            "podman-compose",
            "podman-compose --project-name site up --detach detector",
        ),
        ({"com.docker.swarm.service.name": "detector"}, "Swarm", "docker service update --image NAME:TAG detector"),
        (
            {"io.kubernetes.pod.name": "pod", "io.kubernetes.pod.namespace": "fps"},
            "Kubernetes",
            "kubectl --namespace fps set image pod/pod NAME=NAME:TAG",
        ),
        ({"PODMAN_SYSTEMD_UNIT": "model.service"}, "systemd", "systemctl restart model.service"),
    ],
)
def test_a_container_of_another_program_is_refused_with_the_command_of_that(labels: dict[str, str], who: str, command: str) -> None:
    engine = FakeEngine(one=container(labels=labels))
    with pytest.raises(UsageError, match=who) as caught:
        replace(engine)
    assert caught.value.command == command
    assert engine.events == engine.loads == []


@pytest.mark.parametrize(
    ("changes", "error", "why"),
    [
        ({"auto_remove": True}, UsageError, "--rm"),
        ({"paused": True}, ModelError, "is paused"),
        ({"name": "irreplaceable"}, UsageError, "cannot be replaced"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_loaded(
    changes: dict[str, Any], error: type[Exception], why: str
) -> None:
    engine = FakeEngine(one=container(**changes), irreplaceable=["irreplaceable"])
    source = MemoryStore()
    bundle(source)
    with pytest.raises(error, match=why):
        replacing.replace(
            engine.one.name, source, engine, answering, LocalSpool(), RecordingProgress(), admission=UNCONFIGURED, replacing=QUICK
        )
    assert engine.events == engine.loads == []


@pytest.mark.parametrize(
    ("mounts", "anonymous", "hides"),
    [
        ({"/s": "volume"}, (), True),
        ({"/s/below": "bind"}, (), True),
        ({"/": "bind"}, (), True),
        ({"/s": "volume"}, ("/s",), False),
        ({"/s": "tmpfs"}, (), True),
        ({"/s/cache": "tmpfs"}, (), False),
        ({"/other": "volume"}, (), False),
    ],
)
def test_a_mount_that_hides_state_is_refused_unless_it_is_to_be_kept(
    mounts: dict[str, str], anonymous: tuple[str, ...], hides: bool
) -> None:
    engine = FakeEngine(one=container(mounts=mounts, anonymous_volumes=anonymous))
    progress = RecordingProgress()
    if hides:
        with pytest.raises(UsageError, match="would be hidden by its mounts"):
            replace(engine)
        assert engine.events == engine.loads == []
    replace(engine, ReplaceOptions(0.3, keep_mounted_state=True), progress=progress)
    assert len(engine.events) == 1
    assert any("is hidden" in warning for warning in progress.warnings) is hides


def test_a_container_that_is_pushed_or_replaced_is_busy() -> None:
    engine = FakeEngine()
    with state_directory.hold("container", engine.one.id), pytest.raises(BusyError):
        replace(engine)


def test_a_health_check_decides_if_there_is_one() -> None:
    sick = changed(SILENT, health_check=CHECK, health="starting")
    engine = FakeEngine(successor=sick, healing=[sick, changed(sick, health="unhealthy"), changed(sick, health="healthy")])
    result = replace(engine, ReplaceOptions(60), connect=mute)
    assert result.replaced
    assert result.replaced.ready == "health check"
    assert engine.healing == []


def test_without_a_health_check_and_a_migrator_it_must_run_for_a_while() -> None:
    result = replace(FakeEngine(successor=SILENT), connect=mute)
    assert result.replaced
    assert result.replaced.ready == "running"


@pytest.mark.parametrize(
    ("successor", "connect", "why"),
    [
        (
            changed(SILENT, health_check=CHECK, health="unhealthy"),
            mute,
            "not healthy within 0.3 s: its health check reports unhealthy",
        ),
        (container(id="s" * 64), mute, "not ready within 0.3 s: no Migrator answered"),
        (changed(SILENT, running=False), mute, "ended before it was ready"),
        (changed(SILENT, health_check=CHECK, running=False), mute, "ended before it was ready"),
        (container(id="s" * 64, running=False), answering, "ended before it was ready"),
    ],
)
def test_a_container_that_does_not_get_ready_is_undone_with_its_log(successor: Container, connect: Any, why: str) -> None:
    engine = FakeEngine(successor=successor)
    with pytest.raises(ModelError, match=why) as caught:
        replace(engine, connect=connect)
    assert engine.events[-1] == "undo detector"
    assert caught.value.log == "the last words of detector"
    assert caught.value.hint.endswith("The old container detector runs again. The new image stays as copy:1")


def test_a_container_that_was_started_anew_meanwhile_is_not_ready() -> None:
    sick = changed(SILENT, health_check=CHECK, health="starting")
    engine = FakeEngine(successor=sick, healing=[sick, changed(sick, health="healthy", instance="2")])
    with pytest.raises(ModelError, match="ended before it was ready"):
        replace(engine, ReplaceOptions(60))


def test_undo_runs_the_previous_container_when_that_gets_ready() -> None:
    engine = FakeEngine(successor=changed(container(id="s" * 64, image_id=container().image_id)))
    done = replacing.undo("detector", engine, answering, RecordingProgress(), ready_timeout=0.3)
    assert (done.container.id, done.previous, done.ready) == ("s" * 64, "detector-previous", "Migrator")
    engine = FakeEngine(successor=changed(SILENT, running=False))
    with pytest.raises(ModelError):
        replacing.undo("detector", engine, mute, RecordingProgress(), ready_timeout=0.3)
    assert engine.events[-1] == "undo detector"
