"""A bundle is signed where it lies, in a store of every kind, and its signatures go where it goes."""

from __future__ import annotations

import itertools
import tarfile
from pathlib import Path

import pytest
import sshkeys
from bundles import bundle, verified
from fakes import MemoryStore, RecordingProgress, file, tree
from places import Place
from sshkeys import Key

from bundler.bundle import list_bundles, read_bundle, referrers
from bundler.errors import BusyError, StoreError
from bundler.format import artifact, signature, thin_list
from bundler.format.statement import Statement
from bundler.ports import Store
from bundler.signatures.ssh import SshSigner, SshVerifier
from bundler.stores.archive.split_artifact import SplitStore, SplitTarget
from bundler.stores.archive.split_files import Split, SplitFileStore
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.archive.thin import ThinStore
from bundler.stores.layout.store import LayoutStore
from bundler.trust import signing
from bundler.trust.policy import Policy, TrustedSigner
from bundler.verbs import copy
from bundler.verbs.have import had

EVERYWHERE = pytest.mark.parametrize("place", ["memory", "layout", "archive", "local", "registry"], indirect=True)
POLICY = Policy(allowed_signers=Path("allowed"))


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return sshkeys.key(tmp_path_factory.mktemp("alice") / "key")


@pytest.fixture(scope="module")
def bob(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return sshkeys.key(tmp_path_factory.mktemp("bob") / "key", "ecdsa")


def sign(store: Store, key: Key, sequence: int | None = None) -> signing.Signed:
    numbers = itertools.count(100)
    return signing.sign(
        read_bundle(store),
        store,
        SshSigner(key.path),
        SshVerifier(),
        sequence,
        lambda wanted: wanted or next(numbers),
    )


def trusted_signers(store: Store, *keys: Key) -> list[TrustedSigner]:
    names = ("alice", "bob")
    verifier = SshVerifier(b"".join(key.line(name) for name, key in zip(names, keys, strict=False)))
    return signing.judge(read_bundle(store), store, POLICY, verifier)


@pytest.fixture
def filled(place: Place) -> Place:
    """A place with one bundle."""
    source = MemoryStore()
    bundle(source, tree(file("/s/f", b"x" * 5000)))
    copy.copy(source, place.open(), RecordingProgress())
    return place


@EVERYWHERE
def test_signers_come_one_after_the_other(filled: Place, alice: Key, bob: Key) -> None:
    digest = read_bundle(filled.open()).digest
    assert sign(filled.open(), alice).added
    assert sign(filled.open(), bob, 7).added
    assert not sign(filled.open(), alice).added
    assert trusted_signers(filled.open(), alice, bob) == [TrustedSigner("alice", 100), TrustedSigner("bob", 7)]
    assert verified(filled.open()) == digest
    assert [named.manifest.digest for named in filled.open().names() if named.name] == [digest]


@EVERYWHERE
def test_signatures_go_where_the_bundle_goes(filled: Place, alice: Key, bob: Key) -> None:
    sign(filled.open(), alice)
    elsewhere = MemoryStore()
    copy.copy(filled.open(), elsewhere, RecordingProgress())
    sign(elsewhere, bob)
    copy.copy(elsewhere, filled.open(), RecordingProgress())
    assert trusted_signers(filled.open(), alice, bob) == [TrustedSigner("alice", 100), TrustedSigner("bob", 100)]


@EVERYWHERE
def test_ssh_keygen_verifies_what_lies_in_a_store(filled: Place, alice: Key, tmp_path: Path) -> None:
    sign(filled.open(), alice)
    store = filled.open()
    found = read_bundle(store)
    (referrer,) = referrers(store, found)
    said, signed = (store.open(blob).read() for blob in signature.parts(referrer, store.where))
    (tmp_path / "signature").write_bytes(signed)
    (tmp_path / "allowed").write_bytes(alice.line("alice"))
    arguments = ["verify", "-n", "fps-bundle@v1", "-f", tmp_path / "allowed", "-I", "alice", "-s", tmp_path / "signature"]
    assert "Good" in sshkeys.keygen("-Y", *arguments, input=said)
    assert Statement.from_bytes(said, "here").manifest == found.digest


@EVERYWHERE
def test_what_ssh_keygen_signed_is_verified_in_a_store(filled: Place, alice: Key) -> None:
    found = read_bundle(filled.open())
    said = Statement.of(found.manifest, found.metadata, 3, "2026-01-01T00:00:00Z").to_bytes()
    made = signature.build(found.manifest.descriptor, said, alice.sign(said))
    filled.open().attach(made)
    assert trusted_signers(filled.open(), alice) == [TrustedSigner("alice", 3)]


@pytest.mark.parametrize("place", ["layout", "archive", "local"], indirect=True)
def test_in_an_index_a_signature_has_a_type_and_no_name(filled: Place, alice: Key) -> None:
    sign(filled.open(), alice)
    (unnamed,) = [named for named in filled.open().names() if not named.name]
    assert unnamed.manifest.artifact_type == signature.ARTIFACT_TYPE


@pytest.mark.parametrize("place", ["memory", "layout", "local", "registry"], indirect=True)
def test_a_name_that_moved_meanwhile_stays_where_it_is(place: Place, alice: Key) -> None:
    first, second = MemoryStore(), MemoryStore()
    bundle(first)
    bundle(second, created="2027-01-01T00:00:00Z")
    copy.copy(first, place.open(), RecordingProgress())
    old = read_bundle(place.open())
    copy.copy(first, place.open("kept"), RecordingProgress())
    copy.copy(second, place.open(), RecordingProgress())
    new = signature.build(old.manifest.descriptor, b"{}", alice.sign(b"{}"))
    place.open().attach(new)
    assert read_bundle(place.open()).digest != old.digest
    assert len(referrers(place.open("kept"), old)) == 1


def test_a_bundle_that_went_away_meanwhile_is_not_brought_back(tmp_path: Path, alice: Key) -> None:
    source, store = MemoryStore(), LayoutStore(tmp_path / "layout", "1")
    bundle(source)
    found = copy.copy(source, store, RecordingProgress()).bundle
    other = MemoryStore()
    bundle(other, created="2027-01-01T00:00:00Z")
    copy.copy(other, store, RecordingProgress())
    with pytest.raises(BusyError, match="another process removed the bundle"):
        store.attach(signature.build(found.manifest.descriptor, b"{}", alice.sign(b"{}")))


def test_an_archive_keeps_all_that_is_in_it(tmp_path: Path, alice: Key) -> None:
    for name, created in (("1", "2027-01-01T00:00:00Z"), ("2", "2028-01-01T00:00:00Z")):
        source = MemoryStore()
        bundle(source, tree(file("/s/f", name.encode())), created=created)
        copy.copy(source, LayoutStore(tmp_path / "layout", name), RecordingProgress())
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(tmp_path / "layout", ".")
    before = [verified(ArchiveStore(path, name)) for name in ("1", "2")]
    for key in (alice, alice):
        sign(ArchiveStore(path, "1"), key)
    sign(ArchiveStore(path, "2"), alice, 7)
    assert [verified(ArchiveStore(path, name)) for name in ("1", "2")] == before
    assert trusted_signers(ArchiveStore(path, "1"), alice) == [TrustedSigner("alice", 100)]
    assert trusted_signers(ArchiveStore(path, "2"), alice) == [TrustedSigner("alice", 7)]


def test_a_thin_archive_stays_thin(tmp_path: Path, alice: Key) -> None:
    source, path = MemoryStore(), tmp_path / "x.tar"
    bundle(source)
    found = read_bundle(source)
    copy.copy(source, ThinStore(ArchiveStore(path, "1"), [had("old", found.manifest)]), RecordingProgress())
    sign(ArchiveStore(path, "1"), alice)
    assert trusted_signers(ArchiveStore(path, "1"), alice) == [TrustedSigner("alice", 100)]
    assert not ArchiveStore(path, "1").holds(found.manifest.layers[0])
    (named,) = [named for named in ArchiveStore(path).names() if named.name]
    assert thin_list.NEEDS in named.manifest.annotations


def test_what_is_split_is_not_signed_where_it_lies(tmp_path: Path, alice: Key) -> None:
    source, inner = MemoryStore(), MemoryStore()
    bundle(source)
    copy.copy(source, SplitTarget(inner, 1 << 20, RecordingProgress()), RecordingProgress())
    before = dict(inner.blobs)
    with pytest.raises(StoreError, match="cannot add a signature to the bundle"):
        sign(SplitStore(inner), alice)
    how = Split(1 << 20)
    copy.copy(source, SplitFileStore(tmp_path / "x.tar", "1", None, how, RecordingProgress()), RecordingProgress())
    with pytest.raises(StoreError, match="cannot add a signature to the bundle"):
        sign(ArchiveStore(tmp_path / "x.tar", "1"), alice)
    assert inner.blobs == before
    assert not (tmp_path / "x.tar").exists()


@EVERYWHERE
def test_a_signed_bundle_looks_like_any_other_to_who_does_not_know_signatures(filled: Place, alice: Key) -> None:
    sign(filled.open(), alice)
    found = read_bundle(filled.open())
    assert artifact.is_bundle(found.manifest.data)
    assert [manifest.descriptor.digest for _, manifest in list_bundles(filled.open())] == [found.digest]
