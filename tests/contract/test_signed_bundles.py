"""A bundle is signed where it lies, in a store of every kind, and its signatures go where it goes."""

from __future__ import annotations

import io
import itertools
import tarfile
from pathlib import Path

import pytest
import sshkeys
from bundles import bundle, verified
from fakes import MemoryStore, RecordingProgress, file, tree
from places import Place
from sshkeys import Key

from bundler import signing, transfer
from bundler.errors import StoreError
from bundler.format import artifact, signature
from bundler.format.statement import Statement
from bundler.ports import Named, Store
from bundler.signatures.ssh import SshSigner, SshVerifier
from bundler.stores import index
from bundler.stores.archive import ArchiveStore
from bundler.stores.layout import LayoutStore
from bundler.trust import Policy, Voucher

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
        transfer.read_bundle(store),
        store,
        SshSigner(key.path),
        SshVerifier(),
        sequence,
        lambda wanted: wanted or next(numbers),
        RecordingProgress(),
    )


def vouchers(store: Store, *keys: Key) -> list[Voucher]:
    names = ("alice", "bob")
    verifier = SshVerifier(b"".join(key.line(name) for name, key in zip(names, keys, strict=False)))
    return signing.judge(transfer.read_bundle(store), store, POLICY, verifier)


@pytest.fixture
def filled(place: Place) -> Place:
    """A place with one bundle."""
    source = MemoryStore()
    bundle(source, tree(file("/s/f", b"x" * 5000)))
    transfer.copy(source, place.open(), RecordingProgress())
    return place


def test_signers_come_one_after_the_other(filled: Place, alice: Key, bob: Key) -> None:
    digest = transfer.read_bundle(filled.open()).digest
    assert sign(filled.open(), alice).added
    assert sign(filled.open(), bob, 7).added
    assert not sign(filled.open(), alice).added
    assert vouchers(filled.open(), alice, bob) == [Voucher("alice", 100), Voucher("bob", 7)]
    assert verified(filled.open()) == digest
    assert [named.manifest.digest for named in filled.open().names() if named.name] == [digest]


def test_signatures_go_where_the_bundle_goes(filled: Place, alice: Key, bob: Key) -> None:
    sign(filled.open(), alice)
    elsewhere = MemoryStore()
    transfer.copy(filled.open(), elsewhere, RecordingProgress())
    sign(elsewhere, bob)
    transfer.copy(elsewhere, filled.open(), RecordingProgress())
    assert vouchers(filled.open(), alice, bob) == [Voucher("alice", 100), Voucher("bob", 100)]


def test_ssh_keygen_verifies_what_lies_in_a_store(filled: Place, alice: Key, tmp_path: Path) -> None:
    sign(filled.open(), alice)
    store = filled.open()
    found = transfer.read_bundle(store)
    (referrer,) = transfer.referrers(store, found)
    said, signed = (store.open(blob).read() for blob in signature.parts(referrer, store.where))
    (tmp_path / "signature").write_bytes(signed)
    (tmp_path / "allowed").write_bytes(alice.line("alice"))
    arguments = ["verify", "-n", "fps-bundle@v1", "-f", tmp_path / "allowed", "-I", "alice", "-s", tmp_path / "signature"]
    assert "Good" in sshkeys.keygen("-Y", *arguments, input=said)
    assert Statement.from_bytes(said, "here").manifest == found.digest


def test_what_ssh_keygen_signed_is_verified_in_a_store(filled: Place, alice: Key) -> None:
    found = transfer.read_bundle(filled.open())
    said = Statement.of(found.manifest, found.metadata, 3, "2026-01-01T00:00:00Z").to_bytes()
    made = signature.build(found.manifest.descriptor, said, alice.sign(said))
    transfer.attach(filled.open(), found, made, RecordingProgress())
    assert vouchers(filled.open(), alice) == [Voucher("alice", 3)]


@pytest.mark.parametrize("place", ["layout", "archive", "local"], indirect=True)
def test_in_an_index_a_signature_has_a_type_and_no_name(filled: Place, alice: Key) -> None:
    sign(filled.open(), alice)
    (unnamed,) = [named for named in filled.open().names() if not named.name]
    assert unnamed.manifest.artifact_type == signature.ARTIFACT_TYPE


def test_a_name_that_moved_meanwhile_stays_where_it_is(place: Place, alice: Key) -> None:
    if place.kind == "archive":
        pytest.skip("an archive is written anew by whoever comes last")
    first, second = MemoryStore(), MemoryStore()
    bundle(first)
    bundle(second, created="2027-01-01T00:00:00Z")
    transfer.copy(first, place.open(), RecordingProgress())
    old = transfer.read_bundle(place.open())
    transfer.copy(first, place.open("kept"), RecordingProgress())
    transfer.copy(second, place.open(), RecordingProgress())
    new = signature.build(old.manifest.descriptor, b"{}", alice.sign(b"{}"))
    transfer.attach(place.open(), old, new, RecordingProgress())
    assert transfer.read_bundle(place.open()).digest != old.digest
    assert len(transfer.referrers(place.open("kept"), old)) == 1


def test_a_bundle_that_went_away_meanwhile_is_not_brought_back(tmp_path: Path, alice: Key) -> None:
    source, store = MemoryStore(), LayoutStore(tmp_path / "layout", "1")
    bundle(source)
    found = transfer.copy(source, store, RecordingProgress()).bundle
    other = MemoryStore()
    bundle(other, created="2027-01-01T00:00:00Z")
    transfer.copy(other, store, RecordingProgress())
    with pytest.raises(StoreError, match="removed just now"):
        transfer.attach(store, found, signature.build(found.manifest.descriptor, b"{}", alice.sign(b"{}")), RecordingProgress())


def test_an_archive_of_several_bundles_is_not_cut_down_to_one(tmp_path: Path, alice: Key) -> None:
    source, store = MemoryStore(), ArchiveStore(tmp_path / "x.tar", "1")
    bundle(source)
    found = transfer.copy(source, store, RecordingProgress()).bundle
    path = tmp_path / "x.tar"
    one = index.write([Named("1", found.manifest.descriptor)])
    stranger = index.write([Named("1", found.manifest.descriptor), Named("2", transfer.read_bundle(noise()).manifest.descriptor)])
    before = rewritten(path, one, stranger)
    with pytest.raises(StoreError, match="other bundles"):
        sign(ArchiveStore(path, "1"), alice)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["x.tar"]


def noise() -> MemoryStore:
    store = MemoryStore()
    bundle(store, created="2028-01-01T00:00:00Z")
    return store


def rewritten(path: Path, old: bytes, new: bytes) -> bytes:
    """Put another index into an archive; gives the archive's bytes."""
    with tarfile.open(path) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as archive:
        for member, data in members:
            content = new if data == old else data
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path.read_bytes()


def test_a_signed_bundle_looks_like_any_other_to_who_does_not_know_signatures(filled: Place, alice: Key) -> None:
    sign(filled.open(), alice)
    found = transfer.read_bundle(filled.open())
    assert artifact.is_bundle(found.manifest.data)
    assert [manifest.descriptor.digest for _, manifest in transfer.list_bundles(filled.open())] == [found.digest]
