"""Nightly pushes of differences with a tag template, and a policy that removes old ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import verified
from fakes import FakeEngine, RecordingProgress, ScriptedModel, file, tree

from bundler.api.stores import StoreOptions, open_place, open_readable, push_target
from bundler.format.content import Digest
from bundler.format.reference import LayoutReference
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import names, push, retention, tag_template
from bundler.verbs.push import PushResult

WEIGHTS = random.Random(1).randbytes(100_000)


@pytest.fixture
def pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, bytes], PushResult]:
    """Pushes a state on a day of January to the layout, as differences."""
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    options = push.Options(template=tag_template.parse("{version}-{date}"))

    def push_on(day: int, log: bytes) -> PushResult:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str((day - 1) * 86400))
        engine = FakeEngine(tree(file("/s/weights", WEIGHTS), file("/s/log", log)))
        target = push_target(LayoutReference(str(tmp_path / "layout")), StoreOptions(), delta=True)
        return push.push(engine.one, engine, ScriptedModel("/s"), LocalSpool(), target, RecordingProgress(), options)

    return push_on


def tags(place: Path) -> dict[str, Digest]:
    found = open_readable(LayoutReference(str(place)), StoreOptions()).names()
    return {named.name: named.manifest.digest for named in found}


def test_what_a_policy_keeps_of_nightly_deltas_can_be_read(pushed: Callable[[int, bytes], PushResult], tmp_path: Path) -> None:
    layout = LayoutReference(str(tmp_path / "layout"))
    results = [pushed(day, b"%d" % day) for day in (1, 2)]
    unchanged = pushed(3, b"2")
    results.append(pushed(4, b"4"))
    assert [bool(it.delta) for it in results] == [False, True, True]
    assert unchanged.unchanged
    digests = [it.bundle.digest for it in results]
    days = [f"1.0-1970-01-0{day}" for day in (1, 2, 4)]
    assert tags(tmp_path / "layout") == dict(zip(days, digests, strict=True))
    policy = retention.Policy(last=1)
    kept = retention.prune(open_place(layout, StoreOptions()), policy, dry_run=False).kept
    assert [it.reasons for it in kept] == [(f"source of {days[1]}",), (f"source of {days[2]}",), ("last",)]
    rebuilt = open_readable(LayoutReference(layout.path, days[2]), StoreOptions())
    assert verified(rebuilt) == digests[2]


def test_a_push_sends_whole_layers_when_its_source_was_removed_there(
    pushed: Callable[[int, bytes], PushResult], tmp_path: Path
) -> None:
    pushed(1, b"1")
    place = open_place(LayoutReference(str(tmp_path / "layout")), StoreOptions())
    names.remove(place, [names.parse(f"oci:{tmp_path}/layout:1.0-1970-01-01")], dry_run=False)
    again = pushed(2, b"2")
    assert again.delta is None
    assert tags(tmp_path / "layout") == {"1.0-1970-01-02": again.bundle.digest}
    assert pushed(3, b"3").delta is not None
