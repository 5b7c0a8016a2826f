"""A signature belongs to a bundle in an index, or to the target of a delta in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree

from bundler.bundle import read_bundle
from bundler.errors import BusyError
from bundler.format import signature
from bundler.format.delta_manifest import DELTA
from bundler.format.reference import LocalReference
from bundler.stores.delta.new import NewDeltaStore
from bundler.stores.layout import prune
from bundler.stores.layout.local import LocalSpool, LocalStore
from bundler.stores.layout.store import LayoutStore
from bundler.verbs import copy, delta


def stored(log: bytes) -> MemoryStore:
    store = MemoryStore()
    bundle(store, tree(file("/s/log", log)))
    return store


@pytest.fixture(autouse=True)
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))


def put_delta(old: MemoryStore, new: MemoryStore, store: LayoutStore) -> None:
    progress = RecordingProgress()
    with delta.made(read_bundle(new), new, read_bundle(old), old, LocalSpool(), progress) as made:
        copy.copy(NewDeltaStore(new, made.made), store, progress, read_bundle(new), delta=made.manifest)


def signature_of(store: MemoryStore) -> signature.NewReferrer:
    return signature.build(read_bundle(store).manifest.descriptor, b"{}", b"signature")


@pytest.mark.parametrize("typed", [True, False], ids=["typed", "as skopeo writes it"])
def test_a_signature_is_attached_to_the_target_of_a_delta(typed: bool, tmp_path: Path) -> None:
    old, new = stored(b"one"), stored(b"two")
    store = LayoutStore(tmp_path / "layout", "2")
    put_delta(old, new, store)
    if not typed:
        path = tmp_path / "layout" / "index.json"
        content = json.loads(path.read_bytes())
        assert content["manifests"][0].pop("artifactType") == DELTA
        path.write_text(json.dumps(content))
    store.attach(signature_of(new))
    assert len(store.referrers(read_bundle(new).manifest.descriptor)) == 1
    with pytest.raises(BusyError, match="removed the bundle"):
        store.attach(signature_of(old))


def test_prune_keeps_the_signatures_of_a_target_as_long_as_a_delta_of_it(tmp_path: Path) -> None:
    del tmp_path
    old, new = stored(b"one"), stored(b"two")
    store = LocalStore(LocalReference("model", "2"))
    put_delta(old, new, store)
    store.attach(signature_of(new))
    assert prune.prune(0, dry_run=False).bundles == []
    assert len(store.referrers(read_bundle(new).manifest.descriptor)) == 1
    store.forget()
    assert store.names() == []
