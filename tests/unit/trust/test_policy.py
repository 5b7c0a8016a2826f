"""Who may vouch, and what may follow what: each refusal is one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bundles import bundle
from fakes import MemoryStore

from bundler.bundle import read_bundle
from bundler.format.content import Digest
from bundler.format.statement import Statement
from bundler.trust.policy import Policy, RollbackKey, Signature, SignedBundle, TrustedSigner, check, check_sequence, trusted_signers

ANYBODY = Policy(allowed_signers=Path("allowed"))
TWO = Policy(allowed_signers=Path("allowed"), minimum=2)
RULES = Policy(allowed_signers=Path("allowed"), may_sign={"alice": ["detector*", "Model"], "bob": ["other"], "*": ["*"]})


def statement(sequence: int) -> Statement:
    store = MemoryStore()
    bundle(store)
    found = read_bundle(store)
    return Statement.of(found.manifest, found.metadata, sequence, "2026-01-01T00:00:00Z")


def by(*principals: str, key: str = "", sequence: int = 1, fault: str = "") -> Signature:
    return Signature(Digest.of(b""), "ED25519", key or "+".join(principals), principals, statement(sequence), fault)


WRONG = Signature(Digest.of(b""), fault="a signature is not one of this statement")
UNKNOWN_KEY = by(key="SHA256:x", fault="it is not an allowed signer")


@pytest.mark.parametrize(
    ("policy", "signatures", "count"),
    [
        (ANYBODY, [by("alice")], 1),
        (ANYBODY, [WRONG, UNKNOWN_KEY, by("alice")], 1),
        (TWO, [by("alice"), by("bob")], 2),
        (RULES, [by("alice")], 1),
        (RULES, [by("bob", "alice")], 1),
    ],
)
def test_who_is_allowed_vouches(policy: Policy, signatures: list[Signature], count: int) -> None:
    assert len(trusted_signers(policy, "Model", signatures)) == count
    assert check(policy, "Model", signatures) == []


@pytest.mark.parametrize(
    ("policy", "signatures", "reason"),
    [
        (ANYBODY, [], "it is not signed"),
        (ANYBODY, [WRONG], "not one of this statement"),
        (ANYBODY, [UNKNOWN_KEY], "key SHA256:x does not count: it is not an allowed signer"),
        (TWO, [by("alice")], "1 trusted signature (2 required)"),
        (TWO, [by("alice", key="1"), by("alice", key="2")], "1 trusted signature (2 required)"),
        (TWO, [by("alice", key="1"), by("bob", key="1")], "1 trusted signature (2 required)"),
        (TWO, [by("alice", "bob", key="1")], "1 trusted signature (2 required)"),
        (RULES, [by("bob")], "bob may not sign Model"),
        (RULES, [by("carol")], "carol may not sign Model"),
        (RULES, [by("Alice")], "Alice may not sign Model"),
    ],
)
def test_who_is_not_allowed_is_refused(policy: Policy, signatures: list[Signature], reason: str) -> None:
    assert reason in "; ".join(check(policy, "Model", signatures))


@pytest.mark.parametrize("signatures", [[], [WRONG], [UNKNOWN_KEY]])
def test_without_allowed_signers_nothing_is_refused_and_nobody_vouches(signatures: list[Signature]) -> None:
    assert check(Policy(), "Model", signatures) == []
    assert trusted_signers(Policy(), "Model", signatures) == []


@pytest.mark.parametrize(
    ("title", "allowed"), [("detector-7", True), ("Detector-7", False), ("a detector", False), ("Model", True)]
)
def test_titles_are_globs_that_heed_letter_case(title: str, allowed: bool) -> None:
    assert RULES.may_sign_title("alice", title) is allowed


@pytest.mark.parametrize("sequences", [(5, 9), (9, 5), (5, 9, 7), (9,)])
def test_a_signer_counts_once_with_the_highest_number_in_whatever_order_signatures_come(sequences: tuple[int, ...]) -> None:
    signatures = [by("alice", key=str(number), sequence=number) for number in sequences]
    assert trusted_signers(ANYBODY, "Model", signatures) == [TrustedSigner("alice", 9)]


def test_each_signer_keeps_a_number_of_its_own() -> None:
    signatures = [by("bob", sequence=2), by("alice", sequence=9), by("alice", key="other", sequence=3)]
    assert trusted_signers(ANYBODY, "Model", signatures) == [TrustedSigner("alice", 9), TrustedSigner("bob", 2)]


def test_a_key_is_the_first_signer_that_it_was_met_as_and_no_other() -> None:
    signatures = [by("alice", key="1", sequence=1), by("bob", "alice", key="1", sequence=4)]
    assert trusted_signers(ANYBODY, "Model", signatures) == [TrustedSigner("alice", 4)]


def test_the_signer_is_the_one_that_may_sign_the_title() -> None:
    assert trusted_signers(RULES, "Model", [by("bob", "alice")]) == [TrustedSigner("alice", 1)]


def test_a_signature_of_another_statement_does_not_count() -> None:
    wrong = replace(by("alice"), statement=None, fault="a signature is not one of this statement")
    assert trusted_signers(ANYBODY, "Model", [wrong]) == []
    assert check(ANYBODY, "Model", [wrong])[1:] == ["a signature is not one of this statement"]


ONE, OTHER = Digest.of(b"one"), Digest.of(b"other")
KEY = RollbackKey("Model", "", "alice", "detector")


THIS = SignedBundle(7, ONE, "2026-11-20T10:00:00Z")


@pytest.mark.parametrize("newest", [None, SignedBundle(6, OTHER), SignedBundle(7, ONE)])
def test_a_newer_one_and_the_same_one_may_follow(newest: SignedBundle | None) -> None:
    assert check_sequence(KEY, THIS, newest) == ""


@pytest.mark.parametrize(
    ("newest", "reason"),
    [
        (
            SignedBundle(8, OTHER, "2026-11-27T10:00:00Z"),
            "sequence 7 (2026-11-20T10:00:00Z), that one with sequence 8 (2026-11-27T10:00:00Z)",
        ),
        (SignedBundle(8, ONE), "that one with sequence 8"),
        (SignedBundle(7, OTHER), "another bundle with the same sequence 7 (2026-11-20T10:00:00Z), which was applied"),
    ],
)
def test_an_older_one_and_a_second_of_the_same_number_may_not(newest: SignedBundle, reason: str) -> None:
    assert reason in check_sequence(KEY, THIS, newest)
