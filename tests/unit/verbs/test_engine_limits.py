"""How many layers an engine can run, and who says so when."""

from __future__ import annotations

from pathlib import Path

import applied
import pytest
import unasked
from bundles import bundle
from fakes import FakeEngine, MemoryStore, RecordingProgress, ScriptedModel, file, image, tree

from bundler.bundle import read_bundle
from bundler.errors import EngineError, ModelError
from bundler.format.reference import LocalReference
from bundler.ports import EngineInfo, RunOptions
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import apply as applying
from bundler.verbs import engine_limits, ingest
from bundler.verbs import push as pushing

CLASSIC = EngineInfo("Docker", "20.10.24", "classic", "")
CONTAINERD = EngineInfo("Docker", "28.5.2", "containerd", "")
OLD_PODMAN = EngineInfo("Podman", "4.3.1", "podman", "")
PODMAN = EngineInfo("Podman", "5.4.2", "podman", "")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize(("engine", "most"), [(CLASSIC, 125), (CONTAINERD, 499), (OLD_PODMAN, 128), (PODMAN, 500)])
def test_the_base_must_leave_room_for_one_layer(engine: EngineInfo, most: int) -> None:
    assert engine_limits.most_layers(engine) == most
    engine_limits.check_push(most - 1, engine, RecordingProgress())
    with pytest.raises(ModelError, match=rf"has {most} layers.*at most {most}") as caught:
        engine_limits.check_push(most, engine, RecordingProgress())
    assert caught.value.hint
    engine_limits.check_image(most - 2, 2, engine)
    with pytest.raises(EngineError, match=rf"{most + 1} layers, {most - 1} of the base and 2 on top"):
        engine_limits.check_image(most - 1, 2, engine)


@pytest.mark.parametrize(("base_layers", "warned"), [(124, False), (125, True)])
def test_a_base_that_other_engines_cannot_extend_is_told(base_layers: int, warned: bool) -> None:
    progress = RecordingProgress()
    engine_limits.check_push(base_layers, CONTAINERD, progress)
    assert bool(progress.warnings) is warned


def test_a_push_on_a_base_of_too_many_layers_does_not_touch_the_model() -> None:
    engine = FakeEngine(files=tree(file("/s/f")), held=[image(layers=125)])
    with pytest.raises(ModelError, match="125 layers"):
        unasked.push(engine, pushing.Options())
    assert engine.pauses == 0


def test_a_push_on_the_largest_base_makes_one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bundler.format.pack.BIG", 10)
    engine = FakeEngine(files=tree(file("/s/a", b"x" * 10), file("/s/b", b"y" * 10)), held=[image(layers=124)])
    target = LocalReference("m", "1")
    result = pushing.push(engine.one, engine, ScriptedModel("/s"), LocalSpool(), target, RecordingProgress(), pushing.Options())
    assert len(result.bundle.manifest.layers) == 1


def test_an_apply_that_the_engine_could_not_run_fetches_nothing() -> None:
    store = MemoryStore()
    bundle(store)
    engine = FakeEngine()
    found = read_bundle(store)
    store.blobs = {}
    with pytest.raises(EngineError, match="126 layers"):
        applied.apply(found, store, image(layers=125), "copy:1", engine, LocalSpool(), RecordingProgress(), dry_run=True)
    with (
        pytest.raises(EngineError, match="126 layers"),
        applying.loaded(applied.admitted(found, store), store, image(layers=125), engine, LocalSpool(), RecordingProgress()),
    ):
        pass
    assert engine.loads == []


def test_an_ingest_that_could_not_be_committed_starts_nothing() -> None:
    engine = FakeEngine()
    old = ingest.container(engine.one, engine, None, RecordingProgress())
    with pytest.raises(EngineError, match="126 layers"):
        ingest.ingest_prepared(old, image(layers=125), "new:1", engine, _no_model, RunOptions(), RecordingProgress(), keep=False)
    assert engine.runs == []


def _no_model(_: object) -> None:
    raise AssertionError("no model is asked")
