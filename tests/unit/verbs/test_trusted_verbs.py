"""Where push signs, and what apply does between the new image and its name, over fakes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import applied
import pytest
from bundles import bundle
from fakes import FakeEngine, FakeSigner, FakeVerifier, MemoryStore, RecordingProgress, ScriptedModel, file, tree

from bundler.bundle import Bundle, read_bundle
from bundler.errors import BusyError, NotFoundError, TrustError
from bundler.format import image, reference
from bundler.format.content import Digest
from bundler.format.reference import LocalReference
from bundler.ports import Store
from bundler.stores.layout.local import LocalSpool, LocalStore
from bundler.trust import signing
from bundler.trust.admission import Admitted, RollbackCheck
from bundler.verbs import apply as applying
from bundler.verbs import image_tags
from bundler.verbs import push as pushing


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def seal(bundle: Bundle, store: Store) -> None:
    signing.sign(bundle, store, FakeSigner("a"), FakeVerifier(), None, lambda _: 1)


def refuse(bundle: Bundle, store: Store) -> None:
    raise TrustError(f"no key for {bundle.digest} in {store.where}")


def push(target: Store | LocalReference, engine: FakeEngine, seal: pushing.Seal, *, dry_run: bool = False) -> pushing.PushResult:
    options = pushing.Options(dry_run=dry_run)
    return pushing.push(engine.one, engine, ScriptedModel("/s"), LocalSpool(), target, RecordingProgress(), options, seal)


def signatures(store: Store) -> int:
    return len(signing.find(read_bundle(store), store, FakeVerifier()))


@pytest.mark.parametrize("local", [True, False])
def test_a_push_signs_once_also_when_nothing_has_changed(local: bool) -> None:
    engine, elsewhere, here = FakeEngine(files=tree(file("/s/f"))), MemoryStore(), LocalReference("model", "1.0")
    target = here if local else elsewhere
    for unchanged in (False, True):
        assert push(target, engine, seal).unchanged is unchanged
        assert signatures(LocalStore(here) if local else elsewhere) == 1


def test_a_bundle_never_stands_elsewhere_without_its_signature() -> None:
    class Watching(MemoryStore):
        """Notices a name that comes before the signature."""

        def upload(self, name: str, source: Store | None = None):  # type: ignore[no-untyped-def]
            assert source
            assert signatures(source) == 1
            return super().upload(name, source)

    target = Watching()
    push(target, FakeEngine(files=tree(file("/s/f"))), seal)
    assert signatures(target) == 1


def test_a_key_that_cannot_sign_keeps_the_capture_at_home() -> None:
    target = MemoryStore()
    with pytest.raises(TrustError, match="no key for sha256:") as caught:
        push(target, FakeEngine(files=tree(file("/s/f"))), refuse)
    assert target.tags == {}
    kept = reference.parse(caught.value.hint.partition("fps-bundle copy ")[2].split()[0])
    assert isinstance(kept, LocalReference)
    assert read_bundle(LocalStore(kept)).digest == kept.digest


def test_a_dry_run_signs_nothing() -> None:
    engine, target = FakeEngine(files=tree(file("/s/f"))), MemoryStore()
    push(target, engine, refuse, dry_run=True)
    push(target, engine, seal)
    push(target, engine, refuse, dry_run=True)
    assert signatures(target) == 1


@dataclass(frozen=True)
class Watched(Admitted):
    """An unsigned bundle; ``around`` takes the place of recording it."""

    around: Callable[[], AbstractContextManager[None]] = nullcontext

    def rollback_check(self, repository: str) -> RollbackCheck:
        return Recording(self, repository)


class Recording(RollbackCheck):
    def __init__(self, admitted: Watched, repository: str) -> None:
        super().__init__(admitted, repository)
        self._around = admitted.around

    def recorded(self) -> AbstractContextManager[None]:
        return self._around()


def apply(source: Store, tag: str, engine: FakeEngine, around: Callable[[], AbstractContextManager[None]]) -> None:
    admitted = Watched(read_bundle(source), (), applied.UNCONFIGURED, around)
    applying.apply_admitted(admitted, source, engine.held[0], tag, engine, LocalSpool(), RecordingProgress())


@contextmanager
def refused() -> Iterator[None]:
    raise TrustError("another process applied a newer one")
    yield


@pytest.mark.parametrize("here_already", [False, True])
def test_an_image_that_is_refused_at_last_gets_no_name(here_already: bool) -> None:
    source, engine = MemoryStore(), FakeEngine()
    bundle(source)
    if here_already:
        apply(source, "first:1", engine, nullcontext)
    with pytest.raises(TrustError, match="another process applied a newer one"):
        apply(source, "copy:1", engine, refused)
    with pytest.raises(NotFoundError, match="no image 'copy:1'"):
        engine.image("copy:1")
    assert len(engine.held) == (2 if here_already else 1)


def test_a_name_is_given_while_nobody_else_may_give_one() -> None:
    source, engine = MemoryStore(), FakeEngine()
    bundle(source)
    names: list[tuple[str, ...]] = []

    @contextmanager
    def recorded() -> Iterator[None]:
        names.append(tuple(name for held in engine.held for name in held.names))
        with pytest.raises(BusyError), image_tags.locked("copy:1"):
            pytest.fail("two processes have the tag")
        yield
        names.append(tuple(name for held in engine.held for name in held.names))

    apply(source, "copy:1", engine, recorded)
    assert names == [("model:1.0",), ("model:1.0", "copy:1")]


def test_what_the_user_did_without_stands_in_the_labels_and_is_all_that_differs() -> None:
    source = MemoryStore()
    bundle(source)
    found = read_bundle(source)
    marks = {image.LABEL_TRUST: "skipped", image.LABEL_DOWNGRADE: "because"}
    plain = json.loads(image.build_config(found.metadata, found.digest))
    marked = json.loads(image.build_config(found.metadata, found.digest, None, marks))
    assert {key: marked["config"]["Labels"].pop(key) for key in marks} == marks
    assert marked == plain
    ingested = json.loads(image.build_ingested(found.metadata.base, (), {}, "x", (), found.metadata.created, marks))
    assert marks.items() <= ingested["config"]["Labels"].items()


def test_what_was_let_in_unchecked_stays_marked_when_a_newer_model_takes_it() -> None:
    source = MemoryStore()
    bundle(source)
    found = read_bundle(source).metadata
    old = json.loads(image.build_config(found, Digest.of(b"x"), None, {image.LABEL_TRUST: "skipped"}))["config"]["Labels"]
    ingested = json.loads(image.build_ingested(found.base, (), old, "x", (), found.created))["config"]["Labels"]
    assert ingested[image.LABEL_TRUST] == "skipped"
    assert image.LABEL_DIGEST not in ingested
    trusted = json.loads(image.build_ingested(found.base, (), {"mine": "yes"}, "x", (), found.created))["config"]["Labels"]
    assert image.LABEL_TRUST not in trusted


@pytest.mark.parametrize(
    ("tag", "repository"),
    [
        ("detector:7", "detector"),
        ("team/detector", "team/detector"),
        ("localhost/detector:7", "detector"),
        ("docker.io/library/detector:7", "detector"),
        ("docker.io/team/detector:7", "team/detector"),
        ("registry.example:5000/detector:7", "registry.example:5000/detector"),
    ],
)
def test_a_repository_is_the_same_however_it_is_written(tag: str, repository: str) -> None:
    assert image_tags.repository(tag) == repository
