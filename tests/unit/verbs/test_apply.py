"""What apply refuses, and what it calls the image that it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import applied
import pytest
from bundles import BASE, bundle
from fakes import FakeEngine, MemoryStore, RecordingProgress, Tree, directory, file, image, link, tree

from bundler.bundle import read_bundle
from bundler.errors import BaseMismatchError, BusyError, EngineError, IntegrityError, NotFoundError, PrivilegeError, UsageError
from bundler.format import metadata as meta
from bundler.format.content import Digest
from bundler.format.image import LABEL_DIGEST
from bundler.format.image_archive import NewImage
from bundler.format.reference import LocalReference, parse
from bundler.format.tar import Kind
from bundler.ports import Image
from bundler.stores.layout.local import LocalSpool
from bundler.streams import Progress
from bundler.verbs import apply as applying
from bundler.verbs import base_image as bases
from bundler.verbs import copy, image_tags


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "store"


def apply(source: MemoryStore, engine: FakeEngine, tag: str = "copy:1", *, allow_privileged: bool = False) -> applying.ApplyResult:
    found = read_bundle(source)
    base = bases.find(found.metadata.base, engine, None)
    progress = RecordingProgress()
    return applied.apply(found, source, base, tag, engine, LocalSpool(), progress, dry_run=False, allow_privileged=allow_privileged)


def of(files: Tree | None = None, **changes: Any) -> MemoryStore:
    store = MemoryStore()
    bundle(store, files, **changes)
    return store


@pytest.mark.parametrize("rereadable", [True, False])
@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data + b"x", lambda data: bytes(len(data))])
def test_a_damaged_layer_is_refused_before_the_engine_loads(damage: Callable[[bytes], bytes], rereadable: bool) -> None:
    source, engine = of(), FakeEngine()
    source.rereadable = rereadable
    (layer,) = read_bundle(source).manifest.layers
    source.blobs[layer.digest] = damage(source.blobs[layer.digest])
    with pytest.raises(IntegrityError):
        apply(source, engine)
    assert engine.loads == []


@pytest.mark.parametrize("rereadable", [True, False])
@pytest.mark.parametrize(
    ("files", "changes"),
    [
        (tree(file("/s/f", mode=0o4755)), {}),
        (tree(file("/s/f", capability=b"\1")), {}),
        (tree(link("/s/f", Kind.HARD_LINK, "/../etc/shadow")), {}),
        (tree(file("/s/../f")), {}),
    ],
)
def test_a_layer_that_is_not_as_promised_is_refused_before_the_engine_loads(
    files: Tree, changes: dict[str, Any], rereadable: bool
) -> None:
    source, engine = of(files, **changes), FakeEngine()
    source.rereadable = rereadable
    with pytest.raises(IntegrityError):
        apply(source, engine)
    assert engine.loads == []


def test_a_privileged_file_that_is_listed_is_applied_when_somebody_answers_for_it() -> None:
    engine = FakeEngine()
    source = of(tree(file("/s/f", mode=0o4755)), privileged=("/s/f",))
    with pytest.raises(PrivilegeError):
        apply(source, engine)
    assert engine.loads == []
    apply(source, engine, allow_privileged=True)
    assert len(engine.loads) == 1


def test_a_deletion_that_is_listed_is_applied() -> None:
    engine = FakeEngine()
    apply(of(tree(directory("/s")), removed=("/s/gone",)), engine)
    assert len(engine.loads) == 1


class ClumsyEngine(FakeEngine):
    """Loads, but cannot name."""

    def tag(self, image: Image, name: str) -> None:
        raise EngineError(f"cannot name {image.id} {name}")


def test_an_image_that_cannot_be_named_is_given_up() -> None:
    engine = ClumsyEngine()
    with pytest.raises(EngineError, match="cannot name"):
        apply(of(), engine)
    assert [held.names for held in engine.held] == [("model:1.0",)]


class FullEngine(FakeEngine):
    """Cannot load."""

    @contextmanager
    def loaded(self, image: NewImage, base: Image, progress: Progress) -> Iterator[Image]:
        del image, base, progress
        raise EngineError("no space left on device")
        yield


def test_an_engine_that_cannot_load_keeps_the_old_image_under_its_name() -> None:
    engine = FullEngine(held=[image(), image("copy:1", 3)])
    with pytest.raises(EngineError):
        apply(of(), engine)
    assert engine.image("copy:1").diff_ids == image("copy:1", 3).diff_ids


def test_what_was_fetched_is_not_fetched_again_after_a_failure() -> None:
    source = of()
    source.rereadable = False
    with pytest.raises(EngineError):
        apply(source, FullEngine())
    source.blobs = {digest: data for digest, data in source.blobs.items() if digest != transfer_layer(source)}
    engine = FakeEngine()
    apply(source, engine)
    assert len(engine.loads) == 1


def transfer_layer(source: MemoryStore) -> Digest:
    return read_bundle(source).manifest.layers[0].digest


def test_applying_again_names_the_image_that_is_there() -> None:
    source, engine = of(), FakeEngine()
    first, second = apply(source, engine), apply(source, engine, "other:1")
    assert second.existed
    assert len(engine.loads) == 1
    assert engine.image("other:1").id == first.image_id


def test_undo_without_an_earlier_image_says_so() -> None:
    engine = FakeEngine()
    apply(of(), engine)
    with pytest.raises(NotFoundError):
        image_tags.undo("copy:1", engine)


def test_a_tag_that_another_process_works_on_is_not_rolled_back() -> None:
    engine = FakeEngine(held=[image(), image("copy:1", 3, config={"Labels": {LABEL_DIGEST: "x"}})])
    result = apply(of(), engine)
    assert result.previous == "copy:1-previous"
    with image_tags.locked("copy:1"), pytest.raises(BusyError, match="the image copy:1"):
        image_tags.undo("copy:1", engine)
    assert engine.image("copy:1").id == result.image_id
    image_tags.undo("copy:1", engine)
    assert engine.image("copy:1").diff_ids == image("copy:1", 3).diff_ids


def test_the_lock_of_a_long_tag_has_a_short_name() -> None:
    with image_tags.locked("a/" * 150 + "b:1"), image_tags.locked("a/" * 150 + "c:1"):
        pass


@pytest.mark.parametrize(
    ("base_names", "recorded", "version", "expected"),
    [
        (("r.example:5000/team/model:1.0", "x:1"), (), "1.0", "r.example:5000/team/model:1.0"),
        (("r.example:5000/team/model",), (), "1.0", "r.example:5000/team/model:1.0"),
        ((), ("recorded:3",), "1.0", "recorded:1.0"),
        ((), (), "1.0+gpu", "model:1.0-gpu"),
        ((), (), "9" * 300, "model:" + "9" * 100),
    ],
)
def test_the_default_tag_is_repository_version_and_digest(
    base_names: tuple[str, ...], recorded: tuple[str, ...], version: str, expected: str
) -> None:
    base = BASE.model_copy(update={"names": recorded})
    found = read_bundle(of(base=base, model=meta.Model(title="Model", version=version)))
    tag = applying.choose_tag(None, found, replace(image(), names=base_names), FakeEngine(), force=False)
    assert tag == f"{expected}-{found.digest.short}"
    assert len(tag.rpartition(":")[2]) <= 128


@pytest.mark.parametrize("wanted", ["oci:dir:1", "x.tar", "oci-archive:x:1", "Copy:1", "copy:", f"copy@{Digest.of(b'')}", ""])
def test_what_is_no_name_of_an_image_is_refused(wanted: str) -> None:
    with pytest.raises(UsageError):
        applying.choose_tag(wanted, read_bundle(of()), image(), FakeEngine(), force=True)


def test_a_tag_of_an_image_of_ours_moves_without_force_and_a_foreign_one_does_not() -> None:
    ours = image("ours:1", 3, config={"Labels": {LABEL_DIGEST: "x"}})
    engine, found = FakeEngine(held=[image(), image("foreign:1", 3), ours]), read_bundle(of())
    assert applying.choose_tag("ours:1", found, image(), engine, force=False) == "ours:1"
    assert applying.choose_tag("free", found, image(), engine, force=False) == "free:latest"
    assert applying.choose_tag("foreign:1", found, image(), engine, force=True) == "foreign:1"
    with pytest.raises(UsageError) as caught:
        applying.choose_tag("foreign:1", found, image(), engine, force=False)
    assert "--force" in caught.value.hint


def test_a_base_mismatch_lists_what_differs() -> None:
    other = image("other:1", 3, platform=meta.Platform(os="linux", architecture="arm64"))
    with pytest.raises(BaseMismatchError, match="other:1 is not the base") as caught:
        bases.find(BASE, FakeEngine(held=[other]), "other:1")
    assert [mismatch.what for mismatch in caught.value.mismatches] == ["platform", "number of layers", "chain ID"]
    assert "model:1.0" in caught.value.hint
    assert caught.value.exit_code == 10


def test_the_same_layers_on_another_platform_are_another_base() -> None:
    other = image("model:1.0", platform=meta.Platform(os="linux", architecture="arm64"))
    with pytest.raises(BaseMismatchError) as caught:
        bases.find(BASE, FakeEngine(held=[other]), None)
    assert [mismatch.what for mismatch in caught.value.mismatches] == ["platform"]


def test_an_engine_without_anything_alike_has_nothing_to_list() -> None:
    far = image("far:1", 0, diff_ids=(Digest.of(b"far"),))
    with pytest.raises(BaseMismatchError) as caught:
        bases.find(BASE, FakeEngine(held=[far]), None)
    assert caught.value.mismatches == ()
    assert "nearest" not in caught.value.hint


def test_a_given_base_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        bases.find(BASE, FakeEngine(), "missing:1")


def local_names() -> set[str]:
    return {named.name for named in LocalSpool().open(LocalReference("")).names()}


@pytest.mark.parametrize("before", [None, "model@{}", "model:1", "other@{}"])
def test_what_was_in_the_local_store_before_a_bundle_was_fetched_stays_as_it_was(before: str | None) -> None:
    source = of()
    digest = read_bundle(source).digest
    names = {before.format(digest)} if before else set[str]()
    for name in names:
        reference = parse(name)
        assert isinstance(reference, LocalReference)
        copy.copy(source, LocalSpool().open(reference), RecordingProgress())
    source.rereadable = False
    apply(source, FakeEngine())
    assert local_names() == names


def test_two_applies_of_one_bundle_may_fetch_it_at_once() -> None:
    source = of()
    source.rereadable = False

    class Busy(FakeEngine):
        def tag(self, image: Image, name: str) -> None:
            super().tag(image, name)
            if name == "copy:1":
                apply(source, FakeEngine(), "copy:2")

    apply(source, Busy())
    assert local_names() == set()
