"""What is said and refused before a model is paused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine, RecordingProgress, ScriptedModel, container, file, tree

from bundler.engines import answers
from bundler.engines.lifecycle import health_check, restart_policy
from bundler.errors import ModelError, NoSpaceError
from bundler.format.reference import LocalReference
from bundler.ports import HealthCheck
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import estimate, pausing
from bundler.verbs import push as pushing
from bundler.verbs.estimate import Estimate

CHECK = HealthCheck(interval=5, timeout=3, retries=1)


def lasting(seconds: float) -> Estimate:
    return Estimate(1000, 1000, 1, True, seconds)


def test_holes_that_no_disk_like_this_one_can_take_are_refused_before_the_pause() -> None:
    sparse = Estimate(size=2**40, data=4096, entries=1, exact=True, seconds=5000, capacity=10**12)
    with pytest.raises(ModelError, match=r"the state is 1\.1 TB, of which 1\.1 TB are holes .* whole disk .* \(1\.0 TB\)"):
        pausing.refuse_unappliable(sparse)
    pausing.refuse_unappliable(replace(sparse, capacity=2**40))
    pausing.refuse_unappliable(replace(sparse, exact=False))
    pausing.refuse_unappliable(None)


def warned(engine: str, expected: Estimate | None, **changes: Any) -> str:
    progress = RecordingProgress()
    pausing.warn_of_health_check(container(**changes), engine, expected, progress)
    return " ".join(progress.warnings)


def test_docker_makes_every_container_with_a_health_check_unhealthy() -> None:
    text = warned("Docker", lasting(0.1), health_check=CHECK)
    assert "detector will be unhealthy from the pause until the next health check succeeds (interval 5 s)" in text
    assert "--no-pause" in text
    assert "restarted by" not in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": {"autoheal": "true"}}, "its label autoheal"),
        ({"labels": {"com.docker.swarm.service.name": "web"}}, "Swarm"),
        ({"labels": {"io.kubernetes.pod.name": "web"}}, "Kubernetes"),
        ({"restart_policy": "always"}, "its restart policy always if the health check stops the model"),
    ],
)
def test_what_may_restart_it_is_named(changes: dict[str, Any], said: str) -> None:
    assert said in warned("Docker", None, health_check=CHECK, **changes)
    assert warned("Docker", None, **changes) == ""


def test_a_label_that_switches_autoheal_off_is_no_danger() -> None:
    assert "restarted by" not in warned("Docker", None, health_check=CHECK, labels={"autoheal": "False"})


@pytest.mark.parametrize(
    ("check", "seconds", "trips"),
    [(CHECK, 4, True), (CHECK, 2, False), (HealthCheck(interval=5, timeout=3, retries=2), 100, False)],
)
def test_podman_makes_no_check_meanwhile_but_one_can_be_under_way(check: HealthCheck, seconds: float, trips: bool) -> None:
    assert bool(warned("Podman", lasting(seconds), health_check=check)) is trips


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, None),
        ({"Test": ["NONE"], "Interval": 1}, None),
        ({"Test": ["CMD", "x"], "Interval": 2_000_000_000, "Timeout": 500_000_000, "Retries": 2}, HealthCheck(2, 0.5, 2)),
        ({"Test": ["CMD-SHELL", "x"], "Interval": 0}, HealthCheck(30, 30, 3)),
    ],
)
def test_a_health_check_is_read_with_the_engines_defaults(found: dict[str, Any], expected: HealthCheck | None) -> None:
    assert health_check(answers.HealthCheck.model_validate(found)) == expected


@pytest.mark.parametrize(("name", "expected"), [("no", ""), ("", ""), ("always", "always"), ("on-failure", "on-failure")])
def test_a_restart_policy_is_read(name: str, expected: str) -> None:
    assert restart_policy(name) == expected


def test_a_long_pause_is_warned_of() -> None:
    progress = RecordingProgress()
    pausing.warn_of_long_pause(lasting(pausing.LONG), progress)
    assert progress.warnings == []
    pausing.warn_of_long_pause(lasting(61), progress)
    assert "about 61 s" in progress.warnings[0]


def test_what_fits_only_when_compressed_is_warned_of_and_not_refused() -> None:
    class Full(LocalSpool):
        def reserve(self, size: int) -> None:
            raise NoSpaceError(f"{size} bytes are needed there")

    progress = RecordingProgress()
    pausing.warn_of_small_disk(lasting(1), Full(), progress)
    assert "only if it can be compressed: 1000 bytes are needed there" in progress.warnings[0]


def push(engine: FakeEngine, **options: Any) -> pushing.PushResult:
    progress, target = RecordingProgress(), LocalReference("model", "1.0")
    return pushing.push(engine.one, engine, ScriptedModel("/s"), LocalSpool(), target, progress, pushing.Options(**options))


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))


def test_a_pause_that_would_be_too_long_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine(files=tree(file("/s/f")))
    monkeypatch.setattr(estimate, "API_RATE", 0.4)
    with pytest.raises(ModelError, match=r"about 10 s, which exceeds --max-pause \(10 s\)") as caught:
        push(engine, max_pause=10)
    assert caught.value.exit_code == 3
    assert engine.pauses == 0
    result = push(engine, max_pause=11)
    assert result.expected
    assert (result.expected.size, result.expected.exact) == (4, False)


def test_a_pause_of_unknown_length_is_refused_only_where_a_limit_is_given() -> None:
    engine = FakeEngine(files=tree(file("/s/f")), one=container(mounts={"/s": "volume"}))
    with pytest.raises(ModelError, match="cannot estimate the pause"):
        push(engine, max_pause=10)
    assert engine.pauses == 0
    assert push(engine).expected is None
