"""Settings of an image that no engine takes: refused by push before the model is paused, and wherever a bundle is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import unasked
from bundles import BASE, bundle
from fakes import FakeEngine, MemoryStore, file, image, tree

from bundler.bundle import read_bundle
from bundler.errors import IntegrityError, ModelError
from bundler.format import image_config
from bundler.verbs import push as pushing

SECOND = 1_000_000_000
WRONG_TYPES = [
    ({"Cmd": "serve"}, "Cmd is not a list of texts"),
    ({"Cmd": ["serve", 1]}, "Cmd is not a list of texts"),
    ({"Entrypoint": {}}, "Entrypoint is not a list of texts"),
    ({"Env": {"A": "1"}}, "Env is not a list of texts"),
    ({"Shell": "/bin/sh"}, "Shell is not a list of texts"),
    ({"OnBuild": [None]}, "OnBuild is not a list of texts"),
    ({"ExposedPorts": ["80/tcp"]}, "ExposedPorts is not an object of empty objects"),
    ({"Volumes": {"/v": 1}}, "Volumes is not an object of empty objects"),
    ({"Healthcheck": ["CMD", "x"]}, "Healthcheck is not an object"),
    ({"Labels": {"a": 1}}, "Labels is not an object of texts"),
    ({"StopSignal": 15}, "StopSignal is not a text"),
    ({"User": 0}, "User is not a text"),
    ({"WorkingDir": []}, "WorkingDir is not a text"),
    ({"StopTimeout": 1.5}, "StopTimeout is not a whole number"),
    ({"StopTimeout": 2**63}, "StopTimeout is not a whole number"),
    ({"ArgsEscaped": 1}, "ArgsEscaped is not true or false"),
]
WRONG_VALUES = [
    ({"Cmd": ["a\0b"]}, "zero byte"),
    ({"Entrypoint": ["\0"]}, "zero byte"),
    ({"User": "app\0root"}, "zero byte"),
    ({"Env": ["=1"]}, "Env has a variable without a name"),
    ({"Env": [""]}, "Env has a variable without a name"),
    ({"ExposedPorts": {"http": {}}}, "no port"),
    ({"ExposedPorts": {"70000/tcp": {}}}, "no port"),
    ({"ExposedPorts": {"80/icmp": {}}}, "no port"),
    ({"ExposedPorts": {"90-80/tcp": {}}}, "no port"),
    ({"Volumes": {"": {}}}, "volume without a path"),
    ({"User": "4294967296"}, "ID that is not between"),
    ({"User": "app:-1"}, "ID that is not between"),
    ({"WorkingDir": "models"}, "WorkingDir 'models' is not absolute"),
    ({"StopSignal": "SIGSTOPNOW"}, "is no signal"),
    ({"StopSignal": "0"}, "is no signal"),
    ({"StopSignal": "65"}, "is no signal"),
    ({"Healthcheck": {"Test": "curl localhost"}}, "Test that is not a list of texts"),
    ({"Healthcheck": {"Test": ["CMD", "a\0"]}}, "zero byte in its Test"),
    ({"Healthcheck": {"Interval": "30s"}}, "Interval that is no whole number"),
    ({"Healthcheck": {"Interval": 999_999}}, "Interval of less than 1 ms"),
    ({"Healthcheck": {"Timeout": -1}}, "Timeout that is no whole number"),
    ({"Healthcheck": {"StartPeriod": 1.5}}, "StartPeriod that is no whole number"),
    ({"Healthcheck": {"StartInterval": 1}}, "StartInterval of less than 1 ms"),
    ({"Healthcheck": {"Retries": -1}}, "Retries that is no whole number"),
    ({"Healthcheck": {"Retries": True}}, "Retries that is no whole number"),
]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))


@pytest.mark.parametrize(("config", "why"), [*WRONG_TYPES, *WRONG_VALUES])
def test_what_no_engine_takes_is_told(config: dict[str, Any], why: str) -> None:
    assert why in image_config.fault(config)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"Cmd": None, "Env": None, "Healthcheck": None, "Volumes": None},
        {"Cmd": [], "Entrypoint": ["/serve", ""], "Env": ["A=", "B", "C=a=b"]},
        {"ExposedPorts": {"80": {}, "53/UDP": {}, "8000-8010/tcp": {}, "9/sctp": {}}, "Volumes": {"/v": {}}},
        {"User": "app:app"},
        {"User": "0:2147483647"},
        {"WorkingDir": "/", "StopTimeout": 0, "ArgsEscaped": True},
        {"StopSignal": "SIGTERM"},
        {"StopSignal": "term"},
        {"StopSignal": "9"},
        {"StopSignal": "SIGRTMIN+3"},
        {"StopSignal": "RTMAX-1"},
        {"Healthcheck": {"Test": ["NONE"]}},
        {"Healthcheck": {"Test": ["CMD"]}},  # runs, and is unhealthy
        {"Healthcheck": {"Test": ["curl", "localhost"]}},  # runs without a check
        {"Healthcheck": {"Test": ["CMD", "/check"], "Interval": SECOND, "Timeout": 0, "StartPeriod": None, "Retries": 3}},
        {"Healthcheck": {"Test": ["CMD-SHELL", "curl -f http://localhost"], "Later": "x"}},
        {"Healthcheck": {"Interval": 1_000_000}},
        {"Later": 1},
    ],
)
def test_what_engines_take_is_taken(config: dict[str, Any]) -> None:
    assert image_config.fault(config) == ""


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(("config", "why"), [*WRONG_TYPES[:3], *WRONG_VALUES])
def test_a_push_of_settings_that_no_engine_takes_does_not_touch_the_model(config: dict[str, Any], why: str, dry_run: bool) -> None:
    engine = FakeEngine(files=tree(file("/s/f")), held=[image(config={**image().config, **config})])
    with pytest.raises(ModelError, match=f"no engine accepts the settings of the image model:1.0: .*{why}") as caught:
        unasked.push(engine, pushing.Options(dry_run=dry_run))
    assert caught.value.hint
    assert engine.pauses == 0


def test_a_push_onto_a_given_base_checks_the_settings_of_that_too() -> None:
    clean = image("clean:1", config={"Healthcheck": {"Test": [1]}})
    engine = FakeEngine(files=tree(file("/s/f")), held=[image(), clean])
    with pytest.raises(ModelError, match="settings of the image clean:1: Healthcheck has a Test that is not a list of texts"):
        unasked.push(engine, pushing.Options(base="clean:1", dry_run=True))


@pytest.mark.parametrize(("config", "why"), WRONG_VALUES)
@pytest.mark.parametrize("of_base", [True, False])
def test_a_bundle_with_such_settings_is_refused_when_it_is_read(config: dict[str, Any], why: str, of_base: bool) -> None:
    store = MemoryStore()
    changes = {"base": BASE.model_copy(update={"config": config})} if of_base else {"image": config}
    bundle(store, **changes)
    with pytest.raises(IntegrityError, match=f"no engine takes the settings in the metadata: .*{why}"):
        read_bundle(store)
