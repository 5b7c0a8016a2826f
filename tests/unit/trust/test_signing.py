"""Signing a bundle, and finding out who did, over fakes."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from bundles import bundle
from fakes import FakeSigner, FakeVerifier, MemoryStore

from bundler.bundle import read_bundle, referrers
from bundler.errors import IntegrityError, TrustError
from bundler.format import signature
from bundler.format.statement import Statement
from bundler.trust import signing
from bundler.trust.policy import Policy, TrustedSigner
from bundler.trust.signing import Signed

KNOWN = FakeVerifier(a="alice", b="bob")
POLICY = Policy(allowed_signers=Path("allowed"))


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    bundle(made)
    return made


def sign(store: MemoryStore, key: str = "a", sequence: int | None = None, numbers: itertools.count[int] | None = None) -> Signed:
    following = numbers or itertools.count(100)
    found = read_bundle(store)
    return signing.sign(
        found,
        store,
        FakeSigner(key),
        FakeVerifier(),
        sequence,
        lambda wanted: next(following) if wanted is None else wanted,
    )


def attach(store: MemoryStore, said: bytes, signed: bytes) -> None:
    found = read_bundle(store)
    store.attach(signature.build(found.manifest.descriptor, said, signed))


def judge(store: MemoryStore) -> list[TrustedSigner]:
    return signing.judge(read_bundle(store), store, POLICY, KNOWN)


def test_who_signed_vouches(store: MemoryStore) -> None:
    with pytest.raises(TrustError, match="it is not signed"):
        judge(store)
    assert sign(store).added
    sign(store, "b", 7)
    assert judge(store) == [TrustedSigner("alice", 100), TrustedSigner("bob", 7)]


def test_the_same_key_adds_nothing_unless_another_number_is_wanted(store: MemoryStore) -> None:
    numbers = itertools.count(100)
    assert sign(store, numbers=numbers).added
    again = sign(store, numbers=numbers)
    assert (again.added, again.statement.sequence) == (False, 100)
    assert not sign(store, sequence=100).added
    assert len(store.unnamed) == 1
    assert sign(store, sequence=200).added
    assert judge(store) == [TrustedSigner("alice", 200)]


def test_a_signature_of_another_bundle_is_wrong_whoever_made_it(store: MemoryStore) -> None:
    other = MemoryStore()
    bundle(other, created="2027-01-01T00:00:00Z")
    found = read_bundle(other)
    said = Statement.of(found.manifest, found.metadata, 1, "2026-01-01T00:00:00Z").to_bytes()
    attach(store, said, FakeSigner("a").sign(said))
    (wrong,) = signing.find(read_bundle(store), store, KNOWN)
    assert wrong.wrong
    assert not wrong.principals
    with pytest.raises(TrustError, match="another bundle: manifest, config, created differ"):
        judge(store)


def test_a_statement_that_was_changed_is_wrong(store: MemoryStore) -> None:
    found = read_bundle(store)
    said = Statement.of(found.manifest, found.metadata, 1, "2026-01-01T00:00:00Z").to_bytes()
    attach(store, said.replace(b'"sequence":1', b'"sequence":9'), FakeSigner("a").sign(said))
    with pytest.raises(TrustError, match="incorrect signature"):
        judge(store)


def test_what_an_allowed_key_signed_must_be_a_statement(store: MemoryStore) -> None:
    attach(store, b"{}", FakeSigner("a").sign(b"{}"))
    with pytest.raises(TrustError, match="breaks its schema"):
        judge(store)


def test_a_wrong_one_does_not_take_the_good_one_away(store: MemoryStore) -> None:
    attach(store, b"{}", b"nonsense")
    sign(store)
    assert judge(store) == [TrustedSigner("alice", 100)]


def test_damage_is_no_lack_of_trust(store: MemoryStore) -> None:
    sign(store)
    found = read_bundle(store)
    (referrer,) = referrers(store, found)
    store.blobs[referrer.blobs[1].digest] = b"x"
    with pytest.raises(IntegrityError, match=str(referrer.blobs[1].digest)):
        judge(store)
    with pytest.raises(IntegrityError, match=str(referrer.blobs[1].digest)):
        signing.read_referrers(found, store)


def test_more_signatures_than_anybody_looks_at_are_refused(store: MemoryStore) -> None:
    for number in range(signing.MAX_SIGNATURES + 1):
        attach(store, b"{}", str(number).encode())
    with pytest.raises(TrustError, match="more than"):
        judge(store)


def test_a_key_whose_signature_does_not_hold_adds_nothing(store: MemoryStore) -> None:
    class Broken(FakeSigner):
        def sign(self, message: bytes) -> bytes:
            return super().sign(message + b"x")

    with pytest.raises(TrustError, match="cannot be verified"):
        signing.sign(read_bundle(store), store, Broken("a"), KNOWN, 1, lambda _: 1)
    assert store.unnamed == []
