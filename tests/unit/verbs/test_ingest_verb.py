"""Ingest over fakes of its ports: where copies go, what is refused, and what is left of a failure."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import applied
import pytest
from fakes import (
    FakeEngine,
    MemoryStore,
    RecordingProgress,
    ScriptedModel,
    container,
    directory,
    file,
    image,
    link,
    special,
    tree,
)

from bundler.bundle import read_bundle
from bundler.errors import BaseMismatchError, EngineError, ModelError, StoreError, UsageError
from bundler.format.image import LABEL_DIGEST
from bundler.format.tar import Kind
from bundler.ports import Image, RunOptions
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import ingest as verb
from bundler.verbs import push as pushing

NEWER = image("model:2.0", 3, config={"Cmd": ["newer"], "Labels": {"version": "2"}})


def engine_with(*old: Any, new: Any = (), **changes: Any) -> FakeEngine:
    return FakeEngine(files=tree(*old), new_files=tree(directory("/new"), *new), held=[image(), NEWER], one=container(**changes))


def ingest(engine: FakeEngine, model: ScriptedModel, *, keep: bool = False, onto: Image = NEWER) -> verb.IngestResult:
    old = verb.container(engine.one, engine, None, RecordingProgress())
    connect = lambda _: nullcontext(model)  # noqa: E731
    return verb.ingest_prepared(old, onto, "new:1", engine, connect, RunOptions(), RecordingProgress(), keep=keep)


def copied(engine: FakeEngine, *requests: tuple[str, str]) -> list[str]:
    model = ScriptedModel(requests=requests)
    ingest(engine, model)
    return model.answers


STATE = (directory("/s"), file("/s/a", b"a"), file("/s/b", b"bb"), link("/s/again", Kind.HARD_LINK, "/s/a"))


@pytest.mark.parametrize(
    ("source", "dest", "expected"),
    [
        ("/s/a", "/new/named", {"/new/named": b"a"}),
        ("/s/a", "/new", {"/new/a": b"a"}),
        ("/s/a", "/new/", {"/new/a": b"a"}),
        ("/s/a", "/made/up/", {"/made/up/a": b"a"}),
        ("/s/a", "/", {"/a": b"a"}),
        ("/s", "/new", {"/new/s/a": b"a", "/new/s/b": b"bb"}),
        ("/s", "/named", {"/named/a": b"a", "/named/b": b"bb"}),
    ],
)
def test_a_copy_goes_where_docker_cp_would_put_it(source: str, dest: str, expected: dict[str, bytes]) -> None:
    engine = engine_with(*STATE)
    before = set(engine.new_files)
    assert copied(engine, (source, dest)) == [""]
    arrived = {path: data for path, (entry, data) in engine.new_files.items() if path not in before and entry.kind is Kind.FILE}
    assert arrived == expected


def test_hard_links_lead_to_the_copies() -> None:
    engine = engine_with(*STATE)
    assert copied(engine, ("/s", "/new")) == [""]
    assert engine.new_files["/new/s/again"][0].target == "/new/s/a"


def test_missing_directories_are_made_before_what_is_in_them() -> None:
    engine = engine_with(*STATE)
    assert copied(engine, ("/s/a", "/x/y/z")) == [""]
    assert list(engine.new_files)[-3:] == ["/x", "/x/y", "/x/y/z"]


def test_what_is_no_state_is_left_out_and_counted() -> None:
    engine = engine_with(directory("/s"), special("/s/fifo"), link("/s/link", Kind.HARD_LINK, "/s/fifo"), file("/s/z"))
    result = ingest(engine, ScriptedModel(requests=[("/s", "/new")]))
    assert [(it.entries, it.size, it.left_out) for it in result.copied] == [(2, 4, 2)]
    assert "/new/s/fifo" not in engine.new_files


@pytest.mark.parametrize(
    ("source", "dest", "reason"),
    [
        ("/nothing", "/x", "does not exist in the old container"),
        ("s", "/x", "is not absolute"),
        ("/s/../s", "/x", "is not a clean path"),
        ("/sys/x", "/x", "lies in /sys"),
        ("/s/a", "x", "is not absolute"),
        ("/s/a", "/x/../y", "is not a clean path"),
        ("/s/a", "/dev/", "lies in /dev"),
        ("/s/a", "/x/.wh.y", "means a deletion"),
        ("/s/a", "/new/loop", "loop of symbolic links"),
        ("/s/a", "/new/file/x", "is no directory in the new container"),
        ("/s", "/new/file", "a directory cannot overwrite"),
        ("/s/a", "/new/dirs", "a file cannot overwrite"),
        ("/tmp/a", "/x", "lies on a tmpfs of the old container"),
        ("/bad", "/x", "means a deletion"),
    ],
)
def test_what_cannot_be_copied_is_told_and_nothing_is_written(source: str, dest: str, reason: str) -> None:
    engine = engine_with(
        *STATE,
        file("/tmp/a"),
        directory("/bad"),
        file("/bad/.wh.x"),
        new=[link("/new/loop", Kind.SYMLINK, "loop"), file("/new/file"), directory("/new/dirs/a")],
        mounts={"/tmp": "tmpfs"},
    )
    engine.new_files |= tree(directory("/new/dirs/a"))
    before = dict(engine.new_files)
    (answer,) = copied(engine, (source, dest))
    assert reason in answer
    assert engine.new_files == before


def test_a_copy_that_does_not_arrive_whole_is_an_error() -> None:
    engine = engine_with(*STATE)
    engine.loses = "/new/s/b"
    assert copied(engine, ("/s", "/new")) == ["/new/s/b is not in the new container as it was sent"]


def test_what_was_there_may_stay_beside_a_copy() -> None:
    engine = engine_with(*STATE, new=[directory("/new/s"), file("/new/s/aa", b"mine"), file("/new/s/zz", b"mine")])
    assert copied(engine, ("/s", "/new")) == [""]
    assert engine.new_files["/new/s/aa"][1] == b"mine"


def test_the_new_image_is_the_new_base_with_the_committed_layers() -> None:
    engine = engine_with(*STATE)
    result = ingest(engine, ScriptedModel(requests=[("/s/a", "/new/a")]))
    made = engine.image("new:1")
    assert result.image_id == made.id
    assert made.diff_ids[:-1] == NEWER.diff_ids
    assert made.config["Cmd"] == ["newer"]
    assert made.labels["fps.bundle.ingested-from"] == f"container {engine.one.id}"
    assert {held.names for held in engine.held} == {("model:1.0",), ("model:2.0",), ("new:1",)}
    assert engine.pauses == 1


def test_labels_of_the_old_image_come_along_unless_the_new_base_has_them_or_they_are_ours() -> None:
    engine = engine_with(*STATE)
    old = image(config={"Labels": {"version": "1", "site": "7", LABEL_DIGEST: "sha256:" + "0" * 64}})
    engine.held = [old, NEWER]
    ingest(engine, ScriptedModel())
    labels = engine.image("new:1").labels
    assert (labels["version"], labels["site"]) == ("2", "7")
    assert LABEL_DIGEST not in labels


def test_declared_volumes_are_kept_out_of_the_container_and_come_back() -> None:
    newer = image("model:2.0", 3, config={"Volumes": {"/new": {}}})
    engine = engine_with(*STATE)
    engine.held = [image(), newer]
    ingest(engine, ScriptedModel(requests=[("/s/a", "/new/a")]), onto=newer)
    (ran,) = engine.runs
    assert not ran.config.get("Volumes")
    assert engine.image("new:1").config["Volumes"] == {"/new": {}}


@pytest.mark.parametrize("keep", [False, True])
def test_a_model_that_fails_leaves_nothing_but_what_is_to_be_kept(keep: bool) -> None:
    engine = engine_with(*STATE)
    with pytest.raises(ModelError) as raised:
        ingest(engine, ScriptedModel(requests=[("/nothing", "/x")], strict=True), keep=keep)
    assert "last words" in raised.value.log
    assert ("is kept: fps-bundle-new" in raised.value.hint) == keep
    assert len(engine.kept) == keep
    assert engine.held == [image(), NEWER]
    assert not engine.is_paused


def test_a_model_that_has_ended_is_said_to_have() -> None:
    engine = engine_with(*STATE)
    engine.new_ended = True
    with pytest.raises(ModelError) as raised:
        ingest(engine, ScriptedModel(requests=[("/nothing", "/x")], strict=True))
    assert "fps-bundle-new has exited" in raised.value.hint


def test_an_engine_that_fails_is_no_answer_for_the_model_and_keeps_nothing() -> None:
    engine = engine_with(*STATE)
    engine.fails_at = "/s/b"
    model = ScriptedModel(requests=[("/s", "/new")])
    with pytest.raises(EngineError):
        ingest(engine, model, keep=True)
    assert model.answers == []
    assert engine.kept == []
    assert engine.held == [image(), NEWER]


@pytest.mark.parametrize("state", [{"running": False}, {"paused": True}])
def test_a_container_that_stands_still_is_neither_asked_nor_paused(state: dict[str, bool]) -> None:
    engine = engine_with(*STATE, **state)
    with verb.container(engine.one, engine, lambda _: pytest.fail("asked"), RecordingProgress()) as old:
        assert list(old.lineage) == []
    assert engine.pauses == 0


class OldModel(ScriptedModel):
    """A model of which ``fails`` does: ``connect`` or ``export``."""

    def __init__(self, engine: FakeEngine, fails: str = "") -> None:
        super().__init__("/s")
        self._engine = engine
        self._fails = fails
        self.exported = False

    def connect(self) -> None:
        if self._fails == "connect":
            raise ModelError("connection refused")

    def export(self) -> Any:
        assert not self._engine.is_paused
        self.exported = True
        if self._fails == "export":
            raise ModelError("the disk is on fire")
        return super().export()


def test_a_running_container_writes_its_memory_before_it_stands_still() -> None:
    engine = engine_with(*STATE)
    model = OldModel(engine)
    with verb.container(engine.one, engine, lambda _: nullcontext(model), RecordingProgress()):
        assert engine.is_paused
    assert model.exported


def test_a_running_container_that_is_no_migrator_is_read_as_it_is() -> None:
    engine = engine_with(*STATE)
    model, progress = OldModel(engine, "connect"), RecordingProgress()
    with verb.container(engine.one, engine, lambda _: nullcontext(model), progress):
        assert engine.is_paused
    assert not model.exported
    assert progress.warnings == ["detector does not answer as a Migrator, its files are copied as they are: connection refused"]


def test_an_old_model_whose_export_fails_speaks_for_itself() -> None:
    engine = engine_with(*STATE)
    old = verb.container(engine.one, engine, lambda _: nullcontext(OldModel(engine, "export")), RecordingProgress())
    new = ScriptedModel(requests=[("/s", "/new")])
    with pytest.raises(ModelError, match="on fire") as raised:
        verb.ingest_prepared(old, NEWER, "new:1", engine, lambda _: nullcontext(new), RunOptions(), RecordingProgress(), keep=False)
    assert raised.value.log == "the last words of detector"
    assert "--no-export" in raised.value.hint
    assert new.answers == []
    assert engine.pauses == 0


def test_a_bundle_whose_base_is_missing_is_told_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    engine, store = engine_with(*STATE), MemoryStore()
    pushing.push(engine.one, engine, ScriptedModel("/s"), LocalSpool(), store, RecordingProgress(), pushing.Options())
    found = read_bundle(store)
    engine.held = [NEWER]
    with pytest.raises(BaseMismatchError):
        verb.bundle(applied.admitted(found, store), store, engine, LocalSpool(), RecordingProgress())


def test_an_image_stands_though_its_push_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    engine, store = engine_with(*STATE), MemoryStore()
    made = ingest(engine, ScriptedModel(requests=[("/s/a", "/new/a")]))

    def push() -> pushing.PushResult:
        model = ScriptedModel("/new")
        return verb.push(made, store, engine, lambda _: nullcontext(model), RunOptions(), LocalSpool(), RecordingProgress())

    store.broken = True
    with pytest.raises(StoreError) as raised:
        push()
    assert raised.value.message.startswith("new:1 is complete and can be pushed later; ")
    assert "fps-bundle copy" in raised.value.hint
    assert engine.image("new:1").id == made.image_id
    store.broken = False
    assert push().bundle.digest == read_bundle(store).digest


def test_an_image_with_state_is_no_clean_base() -> None:
    with pytest.raises(UsageError, match="is not a clean base"):
        verb.check_onto(image(config={"Labels": {LABEL_DIGEST: "sha256:" + "0" * 64}}))
