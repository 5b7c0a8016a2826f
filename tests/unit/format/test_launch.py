"""The settings that decide what an image runs, and as which user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import applied
import pytest
from bundles import BASE, bundle
from fakes import FakeEngine, MemoryStore, RecordingProgress, image
from rich.console import Console

from bundler.bundle import read_bundle
from bundler.cli.bundle_tree import bundle_tree
from bundler.errors import PrivilegeError
from bundler.format import image as images
from bundler.format import launch
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import apply as applying

LABELS = {"Labels": {"org.opencontainers.image.title": "Model"}}
CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("User", {"User": "root"}),
    ("Entrypoint", {"Entrypoint": ["/bin/sh", "-c"]}),
    ("Cmd", {"Cmd": ["other"]}),
    ("WorkingDir", {"WorkingDir": "/tmp"}),
    ("Healthcheck", {"Healthcheck": {"Test": ["CMD", "/tmp/x"]}}),
    ("Env LD_PRELOAD", {"Env": ["A=1", "LD_PRELOAD=/s/x.so"]}),
    ("Env LD_LIBRARY_PATH", {"Env": ["A=1", "LD_LIBRARY_PATH=/s"]}),
    ("Env PATH", {"Env": ["PATH=/s:/bin"]}),
    ("Env PYTHONPATH", {"Env": ["PYTHONPATH=/s"]}),
    ("Env BASH_ENV", {"Env": ["BASH_ENV=/s/x"]}),
    ("Env NODE_OPTIONS", {"Env": ["NODE_OPTIONS=--require=/s/x"]}),
    ("Env NVIDIA_VISIBLE_DEVICES", {"Env": ["NVIDIA_VISIBLE_DEVICES=all"]}),
]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def settings(**changes: Any) -> dict[str, Any]:
    return {"Cmd": ["serve"], "Env": ["A=1"], **LABELS, **changes}


def of(source: dict[str, Any], base: dict[str, Any] | None = None) -> MemoryStore:
    store = MemoryStore()
    bundle(store, image=source, base=BASE.model_copy(update={"config": base or settings()}))
    return store


def apply(
    source: MemoryStore, engine: FakeEngine, progress: RecordingProgress, *, allowed: bool = False, dry_run: bool = False
) -> applying.ApplyResult:
    found = read_bundle(source)
    base = engine.image("model:1.0")
    return applied.apply(found, source, base, "copy:1", engine, LocalSpool(), progress, dry_run=dry_run, allow_privileged=allowed)


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(("name", "change"), CHANGES)
def test_a_setting_of_what_is_run_that_the_base_does_not_have_is_shown_and_needs_the_flag(
    name: str, change: dict[str, Any], dry_run: bool
) -> None:
    source, engine, progress = of(settings(**change)), FakeEngine(), RecordingProgress()
    with pytest.raises(PrivilegeError, match=rf"changes what the image runs, or as which user \(.*{name}.*\)"):
        apply(source, engine, progress, dry_run=dry_run)
    assert engine.loads == []
    assert any(name in warning for warning in progress.warnings)
    result = apply(source, engine, progress, allowed=True, dry_run=dry_run)
    assert name in {found.setting for found in result.changes}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Env": ["A=2", "B=3"]},
        {"Labels": {"mine": "yes"}},
        {"StopSignal": "SIGINT"},
        {"ExposedPorts": {"1/tcp": {}}},
        {"Volumes": {"/v": {}}},
        {"Entrypoint": [], "User": ""},
    ],
)
def test_settings_that_do_not_decide_what_is_run_need_no_flag(change: dict[str, Any]) -> None:
    progress = RecordingProgress()
    assert apply(of(settings(**change)), FakeEngine(), progress).changes == []
    assert progress.warnings == []


def test_a_setting_that_the_base_image_has_is_no_change_whatever_the_bundle_says_of_its_base() -> None:
    source = of(settings(User="app"), settings(User="root"))
    held = image(config={**image().config, "User": "app"})
    assert apply(source, FakeEngine(held=[held]), RecordingProgress()).changes == []


def test_a_bundle_that_describes_another_base_than_the_engine_has_is_noticed() -> None:
    source = of(settings(User="root"), settings(User="root"))
    with pytest.raises(PrivilegeError, match="User"):
        apply(source, FakeEngine(), RecordingProgress())


def test_a_setting_that_the_bundle_takes_away_counts_as_well() -> None:
    held = image(config={**image().config, "User": "app", "Env": ["LD_PRELOAD=/lib/guard.so"]})
    with pytest.raises(PrivilegeError, match=r"\(User, Env LD_PRELOAD\)"):
        apply(of(settings(Env=[])), FakeEngine(held=[held]), RecordingProgress())


@pytest.mark.parametrize("key", ["entrypoint", "user", "Hostname", "NetworkDisabled", "x"])
def test_of_a_base_that_the_bundle_describes_only_known_settings_reach_an_engine(key: str) -> None:
    source = of(settings(), settings(**{key: "x"}))
    assert key not in images.restored(read_bundle(source).metadata)


@pytest.mark.parametrize("setting", ["Shell", "OnBuild"])
def test_settings_that_only_the_described_base_has_count_too(setting: str) -> None:
    source = of(settings(), settings(**{setting: ["/s/x"]}))
    with pytest.raises(PrivilegeError, match=setting):
        apply(source, FakeEngine(), RecordingProgress())


def test_a_variable_that_is_set_twice_is_compared_with_all_its_values() -> None:
    one, two = {"Env": ["LD_PRELOAD=a", "LD_PRELOAD=b"]}, {"Env": ["LD_PRELOAD=b", "LD_PRELOAD=a"]}
    assert [change.setting for change in launch.changes(one, two)] == ["Env LD_PRELOAD"]
    assert launch.changes(one, one) == []


def test_long_values_are_cut_and_control_characters_are_escaped() -> None:
    (change,) = launch.changes({}, {"User": "\x1b[2J" + "x" * 1000})
    assert "\x1b" not in str(change)
    assert len(str(change)) < 300


def test_a_bundle_as_a_tree_shows_what_it_runs_and_what_its_base_ran() -> None:
    source = of(settings(User="root", Env=["LD_PRELOAD=/s/x"]), settings(User="app", WorkingDir="/w"))
    console = Console(width=200)
    with console.capture() as captured:
        console.print(bundle_tree("here", read_bundle(source), []))
    text = captured.get()
    assert 'User "root"  (base: "app")' in text
    assert 'Env LD_PRELOAD ["/s/x"]  (base: none)' in text
    assert 'WorkingDir none  (base: "/w")' in text
    assert 'Cmd ["serve"]\n' in "".join(line.rstrip() + "\n" for line in text.splitlines())
