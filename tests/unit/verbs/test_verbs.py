"""Push, copy and apply over fakes of their ports."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import applied
import pytest
from bundles import BASE, bundle
from fakes import FakeEngine, MemoryStore, RecordingProgress, ScriptedModel, container, directory, file, link, special, tree
from fakes import image as held

from bundler.bundle import list_bundles, read_bundle
from bundler.errors import BaseMismatchError, BundlerError, IntegrityError, ModelError, StoreError, UsageError
from bundler.format import artifact, image, reference
from bundler.format.content import Digest
from bundler.format.tar import Kind
from bundler.ports import Store
from bundler.stores.layout.local import LocalSpool, LocalStore
from bundler.verbs import apply as applying
from bundler.verbs import base_image as bases
from bundler.verbs import copy, image_tags
from bundler.verbs import push as pushing
from bundler.verbs.audit import find_forgotten
from bundler.verbs.capture import resolve_exports

LOCAL = reference.LocalReference("model", "1.0")
OPTIONS = pushing.Options()


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "store"


def push(
    engine: FakeEngine, *exports: str, target: Store | reference.LocalReference = LOCAL, options: pushing.Options = OPTIONS
) -> tuple[pushing.PushResult, RecordingProgress]:
    progress = RecordingProgress()
    result = pushing.push(engine.one, engine, ScriptedModel(*exports), LocalSpool(), target, progress, options)
    return result, progress


def blobs(store: Path) -> set[str]:
    return {path.name for path in (store / "blobs" / "sha256").iterdir()} if store.exists() else set()


def test_a_push_makes_a_bundle_that_says_what_it_holds() -> None:
    engine = FakeEngine(files=tree(file("/s/f", b"12345"), directory("/s", mode=0o700)), base_files=tree(file("/s/gone")))
    result, _ = push(engine, "/s")
    found = read_bundle(LocalStore(LOCAL))
    assert found.digest == result.bundle.digest
    (export,) = found.metadata.exports
    assert (export.path, export.kind, export.entries, export.size) == ("/s", "directory", 2, 5)
    assert found.metadata.removed == ("/s/gone",)
    assert found.metadata.base.diff_ids == engine.held[0].diff_ids
    assert not engine.is_paused


@pytest.mark.parametrize("failure", ["/s/f", "/s"])
def test_a_capture_that_fails_resumes_the_model_and_leaves_nothing(store: Path, failure: str) -> None:
    engine = FakeEngine(files=tree(file("/s/f")), fails_at=failure)
    with pytest.raises(BundlerError, match="went away"):
        push(engine, "/s")
    assert not engine.is_paused
    assert blobs(store) == set()


def test_missing_paths_are_all_named() -> None:
    with pytest.raises(ModelError, match="/x, /y"):
        push(FakeEngine(files=tree(file("/s/f"))), "/x", "/s", "/y")


def test_a_transfer_that_fails_keeps_the_capture_and_says_how_to_go_on() -> None:
    target = MemoryStore()
    target.broken = True
    with pytest.raises(StoreError) as caught:
        push(FakeEngine(files=tree(file("/s/f"))), "/s", target=target)
    assert caught.value.exit_code == 5
    command = caught.value.hint.partition("fps-bundle copy ")[2].split()
    target.broken = False
    kept = reference.parse(command[0])
    assert isinstance(kept, reference.LocalReference)
    copy.copy(LocalStore(kept), target, RecordingProgress())
    assert read_bundle(target).digest == kept.digest
    assert command[1] == target.where


def test_a_bundle_that_travelled_does_not_stay_behind(store: Path) -> None:
    target = MemoryStore()
    result, _ = push(FakeEngine(files=tree(file("/s/f"))), "/s", target=target)
    assert read_bundle(target).digest == result.bundle.digest
    assert blobs(store) == set()


def test_an_unchanged_model_moves_no_bytes(store: Path) -> None:
    engine, target = FakeEngine(files=tree(file("/s/f"))), MemoryStore()
    first, _ = push(engine, "/s", target=target)
    second, _ = push(engine, "/s", target=target)
    assert (first.unchanged, second.unchanged) == (False, True)
    assert second.bundle.digest == first.bundle.digest
    assert blobs(store) == set()
    engine.files |= tree(file("/s/f", b"changed"))
    assert not push(engine, "/s", target=target)[0].unchanged


def test_what_stays_behind_is_said() -> None:
    files = tree(
        special("/s/fifo"),
        link("/s/out", Kind.SYMLINK, "/etc/passwd"),
        file("/v/f"),
        link("/l", Kind.SYMLINK, "/etc/x"),
        file("/etc/x"),
    )
    engine = FakeEngine(files=files, one=container(mounts={"/v": "volume"}))
    warnings = " ".join(push(engine, "/s", "/v", "/l")[1].warnings)
    assert "/s/fifo" in warnings
    assert "/v is a volume" in warnings
    assert "left behind, as they are not exported: the targets of 1 exported symbolic link: /l -> /etc/x" in warnings
    with pytest.raises(ModelError, match="/s/fifo"):
        push(engine, "/s", options=pushing.Options(strict=True))


def test_what_lies_below_a_tmpfs_is_neither_state_nor_removed() -> None:
    files = tree(directory("/s/t"), file("/s/t/hidden"), file("/s/f"))
    engine = FakeEngine(files=files, base_files=tree(file("/s/t/in-base")), one=container(mounts={"/s/t": "tmpfs"}))
    push(engine, "/s")
    metadata = read_bundle(LocalStore(LOCAL)).metadata
    assert metadata.removed == ()
    assert metadata.exports[0].entries == 3
    with pytest.raises(ModelError, match="tmpfs"):
        push(engine, "/s/t/hidden")


def test_the_audit_is_silent_about_what_is_exported() -> None:
    files = tree(file("/s/f"), file("/w/new", b"123"), file("/m/x"))
    engine = FakeEngine(files=files, one=container(mounts={"/m": "volume"}))
    exports = resolve_exports(engine.one, engine.reader(engine.one, "auto"), ["/s"])
    assert [(item.path, item.change) for item in find_forgotten(engine.one, exports, engine)] == [("/w", "added")]


@pytest.mark.parametrize("changes", [{"running": False}, {"paused": True}])
def test_a_model_that_does_not_run_is_refused(changes: dict[str, bool]) -> None:
    engine = FakeEngine(one=container(**changes))
    with pytest.raises(ModelError), pushing.running(engine.one, engine, start=False):
        pass


def apply(engine: FakeEngine, source: MemoryStore, tag: str = "copy:1", *, dry_run: bool = False) -> applying.ApplyResult:
    found = read_bundle(source)
    base = bases.find(found.metadata.base, engine, None)
    return applied.apply(found, source, base, tag, engine, LocalSpool(), RecordingProgress(), dry_run=dry_run)


def test_an_apply_makes_the_image_that_the_bundle_says() -> None:
    engine, source = FakeEngine(), MemoryStore()
    bundle(source)
    result = apply(engine, source)
    made = engine.image("copy:1")
    assert made.id == result.image_id == str(result.config_digest)
    assert len(made.diff_ids) == 3
    again = apply(engine, source)
    assert (again.image_id, again.existed, len(engine.loads)) == (result.image_id, True, 1)


def test_a_bundle_that_cannot_be_read_twice_is_fetched_first(store: Path) -> None:
    engine, source = FakeEngine(), MemoryStore()
    source.rereadable = False
    bundle(source)
    apply(engine, source)
    assert blobs(store) == set()


def test_a_damaged_layer_is_found_before_the_engine_is_touched() -> None:
    engine, source = FakeEngine(), MemoryStore()
    bundle(source)
    layer = read_bundle(source).manifest.layers[0]
    source.blobs[layer.digest] = source.blobs[layer.digest][:-1] + b"?"
    with pytest.raises(IntegrityError):
        apply(engine, source)
    assert engine.loads == []


def test_a_dry_run_loads_nothing() -> None:
    engine, source = FakeEngine(), MemoryStore()
    bundle(source)
    assert apply(engine, source, dry_run=True).image_id == ""
    assert engine.loads == []


def test_a_tag_that_moves_leaves_its_image_under_another_name() -> None:
    engine, source = FakeEngine(), MemoryStore()
    bundle(source)
    first = apply(engine, source)
    bundle(source, created="2027-01-01T00:00:00Z")
    second = apply(engine, source)
    assert second.previous == "copy:1-previous"
    assert engine.image("copy:1-previous").id == first.image_id
    assert image_tags.undo("copy:1", engine).id == first.image_id
    assert engine.image("copy:1-previous").id == second.image_id


def test_the_clean_bases_tag_is_taken_only_by_force() -> None:
    engine, source = FakeEngine(), MemoryStore()
    bundle(source)
    found = read_bundle(source)
    with pytest.raises(UsageError, match="did not make"):
        applying.choose_tag("model:1.0", found, engine.held[0], engine, force=False)
    assert applying.choose_tag("model:1.0", found, engine.held[0], engine, force=True) == "model:1.0"
    assert applying.choose_tag(None, found, engine.held[0], engine, force=False) == f"model:1.0-{found.digest.short}"
    with pytest.raises(UsageError):
        applying.choose_tag("x.tar", found, engine.held[0], engine, force=False)


def test_a_missing_base_is_told_with_the_nearest_image() -> None:
    near = held("near:1", 1)
    with pytest.raises(BaseMismatchError) as caught:
        bases.find(BASE, FakeEngine(held=[held("far:1", 0), near]), None)
    assert "near:1" in caught.value.hint
    assert "model:1.0" in caught.value.message
    assert caught.value.mismatches


def test_a_base_is_found_by_its_layers_whatever_its_name() -> None:
    ours = held("ours:1", config={"Labels": {image.LABEL_DIGEST: "x"}})
    engine = FakeEngine(held=[ours, held("renamed:1")])
    assert bases.find(BASE, engine, None).names == ("renamed:1",)
    with pytest.raises(BaseMismatchError):
        bases.find(BASE, FakeEngine(held=[held("other:1", 3)]), "other:1")


def test_a_container_of_an_image_of_ours_has_the_clean_base() -> None:
    engine, source = FakeEngine(), MemoryStore()
    bundle(source)
    apply(engine, source)
    made = engine.image("copy:1")
    assert bases.of_container(engine.one, made, None, engine, RecordingProgress()).diff_ids == held().diff_ids
    progress = RecordingProgress()
    built_from = held("child:1", 5, config=made.config)
    assert len(bases.of_container(engine.one, built_from, None, engine, progress).diff_ids) == 5
    assert "built on an applied image" in progress.warnings[0]


def test_a_base_that_is_gone_is_made_again_and_removed() -> None:
    engine, source = FakeEngine(), MemoryStore()
    bundle(source)
    apply(engine, source)
    made = engine.image("copy:1")
    engine.held = [made]
    clean = bases.of_container(engine.one, made, None, engine, RecordingProgress())
    with bases.materialized_base(clean, made, engine, RecordingProgress()) as rebuilt:
        assert rebuilt.diff_ids == tuple(BASE.diff_ids)
    assert engine.held == [made]


def test_a_given_base_must_be_what_the_image_was_built_on() -> None:
    engine = FakeEngine(held=[held("model:1.0", 3), held("base:1", 2), held("other:1", 0, diff_ids=(Digest.of(b"x"),))])
    assert len(bases.of_container(engine.one, engine.held[0], "base:1", engine, RecordingProgress()).diff_ids) == 2
    with pytest.raises(BaseMismatchError):
        bases.of_container(engine.one, engine.held[0], "other:1", engine, RecordingProgress())


def test_a_copy_sends_what_is_lacking() -> None:
    source, target = MemoryStore(), MemoryStore()
    bundle(source)
    first = copy.copy(source, target, RecordingProgress())
    second = copy.copy(source, target, RecordingProgress())
    assert (first.skipped, second.sent) == (0, 0)
    assert second.skipped == first.sent > 0


def test_what_is_no_bundle_is_passed_over_in_a_list() -> None:
    store = MemoryStore()
    bundle(store)
    other = b'{"schemaVersion": 2}'
    store.blobs[Digest.of(other)] = other
    store.tags["other"] = artifact.Descriptor.of(artifact.MANIFEST, other)
    assert [name for name, _ in list_bundles(store)] == ["1"]


def test_a_base_of_the_same_version_is_taken_when_that_is_enough() -> None:
    engine, source = FakeEngine(held=[held("rebuilt:1", 3)]), MemoryStore()
    bundle(source)
    found = read_bundle(source)
    chosen, on = bases.find_version(found.metadata.model, found.metadata.base, engine, None)
    assert chosen.names == ("rebuilt:1",)
    assert on is not None
    result = applied.apply(found, source, chosen, "copy:1", engine, LocalSpool(), RecordingProgress(), dry_run=False, on=on)
    assert len(engine.image("copy:1").diff_ids) == 4
    assert engine.image("copy:1").labels[image.LABEL_MATCH] == "version"
    assert result.image_id

    assert bases.find_version(found.metadata.model, found.metadata.base, FakeEngine(), None)[1] is None
    strangers = FakeEngine(held=[held("other:1", 3, config={"Labels": {artifact.TITLE: "Other"}})])
    for given in (None, "other:1"):
        with pytest.raises(BaseMismatchError, match=r"labelled as Model 1\.0"):
            bases.find_version(found.metadata.model, found.metadata.base, strangers, given)


def test_an_interrupted_transfer_says_how_to_go_on() -> None:
    class Interrupting(MemoryStore):
        def upload(self, name: str, source: Store | None = None) -> NoReturn:  # noqa: ARG002 - as the port has it
            raise KeyboardInterrupt

    engine, progress = FakeEngine(files=tree(file("/s/f"))), RecordingProgress()
    with pytest.raises(KeyboardInterrupt):
        pushing.push(engine.one, engine, ScriptedModel("/s"), LocalSpool(), Interrupting(), progress, OPTIONS)
    command = progress.warnings[-1].partition("fps-bundle copy ")[2].split()[0]
    kept = reference.parse(command)
    assert isinstance(kept, reference.LocalReference)
    assert read_bundle(LocalStore(kept)).digest == kept.digest
