"""What is special about the local store: bundles that lose their tag stay, until they are pruned."""

from __future__ import annotations

import json
import os
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree
from places import files_below
from typer.testing import CliRunner

from bundler.bundle import list_bundles, read_bundle
from bundler.cli.main import app
from bundler.errors import BundlerError, IntegrityError, StoreError, TrustError
from bundler.format import artifact
from bundler.format.content import Descriptor, Digest
from bundler.format.reference import LocalReference
from bundler.stores.layout.local import LocalSpool, LocalStore
from bundler.stores.layout.prune import prune
from bundler.verbs import copy

LONG_AGO = time.time() - 8 * 24 * 3600


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def made(day: int, name: str = "model", tag: str = "1", *, signed: bool = False) -> Digest:
    """Bring the bundle of a day into the local store."""
    source = MemoryStore()
    manifest = bundle(source, tree(file("/s/f", bytes([day]) * 1000)), created=f"2026-01-{day:02}T00:00:00Z")
    if signed:
        sign(source, manifest)
    return copy.copy(source, opened(name, tag), RecordingProgress()).bundle.digest


def sign(source: MemoryStore, manifest: Descriptor) -> None:
    blob = Descriptor.of("text/plain", b"signature")
    content = {"schemaVersion": 2, "mediaType": artifact.MANIFEST, "artifactType": "text/x", "layers": [blob.to_json()]}
    data = json.dumps({**content, "config": blob.to_json(), "subject": manifest.to_json()}).encode()
    referrer = replace(Descriptor.of(artifact.MANIFEST, data), artifact_type="text/x")
    source.blobs |= {blob.digest: b"signature", referrer.digest: data}
    source.unnamed.append(referrer)


def opened(name: str = "model", tag: str = "1") -> LocalStore:
    return LocalStore(LocalReference(name, tag))


def named() -> dict[str, Digest]:
    return {item.name: item.manifest.digest for item in opened().names() if item.name}


def is_whole(digest: Digest) -> bool:
    """Whether every byte of a bundle is there."""
    found = LocalStore(LocalReference("any", digest=digest))
    try:
        for blob in read_bundle(found).manifest.blobs:
            with found.open(blob) as content:
                content.read()
    except BundlerError:
        return False
    return True


def blobs(store: Path) -> list[str]:
    return [path.name for path in (store / "blobs" / "sha256").iterdir()]


def blob_of(store: Path, digest: Digest) -> Path:
    return store / "blobs" / "sha256" / digest.hex


def test_a_bundle_that_loses_its_tag_stays_under_its_digest() -> None:
    first, second = made(1), made(2)
    assert named() == {"model:1": second, f"model@{first}": first}
    assert made(1) == first
    assert named() == {"model:1": first, f"model@{second}": second}
    assert is_whole(first)
    assert is_whole(second)
    assert [name for name, _ in list_bundles(opened())] == ["model:1", f"model@{second}"]


def test_a_name_that_comes_again_leaves_nothing_behind() -> None:
    assert {"model:1": made(1)} == {"model:1": made(1)} == named()


def test_a_name_is_forgotten_with_what_only_its_bundle_needs(store: Path) -> None:
    kept = made(1, tag="1", signed=True)
    before = sorted(blobs(store))
    made(2, tag="2", signed=True)
    LocalSpool().forget(LocalReference("model", "2"))
    assert sorted(blobs(store)) == before
    LocalSpool().forget(LocalReference("model", "2"))
    assert named() == {"model:1": kept}
    LocalSpool().forget(LocalReference("model", "1"))
    assert blobs(store) == []
    assert list(opened().names()) == []


def test_what_is_damaged_here_keeps_no_other_bundle_from_being_forgotten(store: Path) -> None:
    damaged = made(1, tag="damaged")
    blob_of(store, damaged).write_bytes(b"damaged")
    made(2)
    there = sorted(blobs(store))
    LocalSpool().forget(LocalReference("model", "1"))
    assert named() == {"model:damaged": damaged}
    assert sorted(blobs(store)) == there


def test_a_prune_leaves_the_newest_and_the_tagged() -> None:
    days = [made(day, tag="7") for day in (3, 1, 2, 4, 5)]
    made(9, "other")
    made(1, tag="golden")
    assert {item.digest for item in prune(2, dry_run=False).bundles} == {days[0], days[2]}
    assert {is_whole(digest): digest in (days[0], days[2]) for digest in days} == {True: False, False: True}
    assert set(named()) == {"model:7", f"model@{days[3]}", "model:golden", "other:1"}


def test_what_killed_processes_left_anywhere_goes_when_the_store_is_opened(store: Path) -> None:
    made(1)
    (store / "uploads").mkdir()
    left = [store / place / ".fps-bundle-part-1" for place in (".", "blobs/sha256", "uploads")]
    for path in left:
        path.write_bytes(b"killed")
    named()
    assert not [path for path in left if path.exists()]


def test_a_prune_counts_every_byte_that_becomes_free(store: Path) -> None:
    for day in (1, 2, 3):
        made(day, signed=True)
    (store / "blobs" / "sha256" / Digest.of(b"garbage").hex).write_bytes(b"garbage")
    (store / "blobs" / "sha256" / ".fps-bundle-kept-1").write_bytes(b"half")
    (store / "blobs" / "sha256" / "README").write_bytes(b"somebody's")
    for name, when in (("old", LONG_AGO), ("new", time.time())):
        (store / "uploads").mkdir(exist_ok=True)
        (store / "uploads" / name).write_bytes(b"session")
        os.utime(store / "uploads" / name, (when, when))
    before = {path: path.stat().st_size for path in files_below(store) if path.name != "index.json"}
    told = prune(1, dry_run=True)
    assert {path: path.stat().st_size for path in files_below(store) if path.name != "index.json"} == before
    assert prune(1, dry_run=False) == told
    assert told.size == sum(size for path, size in before.items() if not path.exists())
    assert {(it.what, it.count, it.size) for it in told.leftovers} == {
        ("blobs without a bundle", 1, 7),
        ("half downloads", 1, 4),
        ("records of old uploads", 1, 7),
    }
    assert [it.name for it in told.bundles if not it.name] == ["", ""]
    assert not prune(1, dry_run=False).bundles
    assert len(list(opened().names())) == 2
    assert (store / "uploads" / "new").exists()
    assert (store / "blobs" / "sha256" / "README").exists()


def test_a_dry_run_leaves_the_index_as_it_is(store: Path) -> None:
    made(1)
    made(2)
    before = (store / "index.json").read_bytes()
    assert prune(0, dry_run=True).bundles
    assert (store / "index.json").read_bytes() == before


@pytest.mark.parametrize("damage", ["changed", "missing"])
@pytest.mark.parametrize("tagged", [True, False])
def test_nothing_goes_while_a_bundle_that_stays_cannot_be_read(store: Path, damage: str, tagged: bool) -> None:
    made(1)
    damaged = made(2)
    if not tagged:
        made(3)
    blob_of(store, damaged).unlink()
    if damage == "changed":
        blob_of(store, damaged).write_bytes(b"damaged")
    before = sorted(blobs(store)), named()
    with pytest.raises(IntegrityError, match=f"model:1|model@{damaged}"):
        prune(1, dry_run=False)
    assert (sorted(blobs(store)), named()) == before


def test_a_damaged_bundle_that_lost_its_tag_goes_when_none_is_kept(store: Path) -> None:
    blob_of(store, made(1)).write_bytes(b"damaged")
    tagged = made(2)
    prune(0, dry_run=False)
    assert named() == {"model:1": tagged}
    assert len(blobs(store)) == 3


def test_nothing_goes_while_the_index_names_what_nobody_here_can_read(store: Path) -> None:
    made(1)
    made(2)
    index = json.loads((store / "index.json").read_text())
    strange = Descriptor.of(artifact.INDEX, b"many platforms")
    index["manifests"].append(strange.to_json())
    (store / "index.json").write_text(json.dumps(index))
    with pytest.raises(IntegrityError, match=str(strange.digest)):
        prune(0, dry_run=False)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [(["--keep", "-1"], 2, ""), (["--dry-run"], 0, ""), (["--keep", "0"], 0, "model@"), (["--keep", "0", "--json"], 0, '"size"')],
)
def test_the_command_says_what_goes(arguments: list[str], code: int, said: str) -> None:
    made(1)
    made(2)
    outcome = CliRunner().invoke(app, ["prune", *arguments])
    assert outcome.exit_code == code
    assert said in outcome.stdout


def test_without_a_store_there_is_nothing_to_prune_and_none_is_made(store: Path) -> None:
    assert prune(3, dry_run=False).size == 0
    assert not store.exists()


def test_what_lies_in_the_local_store_is_its_owners_alone(store: Path) -> None:
    store.mkdir(mode=0o755)
    made(1)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files_below(store)} == {0o600}


@pytest.mark.parametrize("how", ["group", "world", "other's", "other's link"])
def test_a_store_that_others_could_change_is_refused(store: Path, tmp_path: Path, how: str) -> None:
    if how.startswith("other's") and os.geteuid():
        pytest.skip("only root can give files away")
    place = tmp_path / "elsewhere" if "link" in how else store
    place.mkdir()
    place.chmod({"group": 0o770, "world": 0o707}.get(how, 0o700))
    if "link" in how:
        store.symlink_to(place)
    if how.startswith("other's"):
        os.chown(store, 1234, 1234, follow_symlinks=False)
    with pytest.raises(StoreError) as caught:
        opened()
    assert caught.value.hint
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("place", ["blobs", "blobs/sha256"])
def test_blobs_that_others_could_change_are_refused(store: Path, place: str) -> None:
    made(1)
    (store / place).chmod(0o770)
    with pytest.raises(StoreError, match="writable by other users"):
        opened()


def test_an_index_that_is_a_link_is_not_followed(store: Path, tmp_path: Path) -> None:
    made(1)
    (store / "index.json").rename(tmp_path / "index.json")
    (store / "index.json").symlink_to(tmp_path / "index.json")
    with pytest.raises(TrustError, match="not a plain file"):
        opened().names()


def test_records_of_uploads_may_come_before_the_first_bundle(store: Path) -> None:
    (store / "uploads").mkdir(parents=True, mode=0o700)
    assert made(1) in named().values()
