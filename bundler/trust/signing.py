"""Sign a bundle, and read and judge its signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bundler.bundle import Bundle, referrers
from bundler.errors import IntegrityError, TrustError
from bundler.format import signature, strict_json
from bundler.format.artifact import Referrer
from bundler.format.content import Descriptor
from bundler.format.metadata import now
from bundler.format.statement import Statement
from bundler.ports import Signer, Store, Verifier
from bundler.streams import drain
from bundler.trust.policy import Policy, Signature, TrustedSigner, check, trusted_signers

MAX_SIGNATURES = 100
"""Most signatures of one bundle that are checked."""


@dataclass(frozen=True)
class Signed:
    """The result of signing: the signed statement and the key; ``added`` is false when the key had signed the bundle before."""

    statement: Statement
    key_type: str
    fingerprint: str
    added: bool


def sign(
    bundle: Bundle,
    store: Store,
    signer: Signer,
    verifier: Verifier,
    sequence: int | None,
    next_sequence: Callable[[int | None], int],
) -> Signed:
    """Attach a signature to a bundle, unless this key has signed it already (with this ``sequence``, when one is given)."""
    statement = Statement.of(bundle.manifest, bundle.metadata, next_sequence(sequence), now())
    message = statement.to_bytes()
    data = signer.sign(message)
    checked = verifier.check(message, data)
    if not checked.fingerprint:
        raise TrustError(f"the new signature cannot be verified: {checked.fault}", hint="Try again, or use another key.")
    for present in find(bundle, store, verifier):
        if present.statement and present.fingerprint == checked.fingerprint and sequence in (None, present.statement.sequence):
            return Signed(present.statement, checked.key_type, checked.fingerprint, False)
    store.attach(signature.build(bundle.manifest.descriptor, message, data))
    return Signed(statement, checked.key_type, checked.fingerprint, True)


def find(bundle: Bundle, store: Store, verifier: Verifier) -> list[Signature]:
    """Return all signatures of a bundle in a store; raises `IntegrityError` for damaged ones."""
    found = [referrer for referrer in referrers(store, bundle) if signature.is_signature(referrer)]
    if len(found) > MAX_SIGNATURES:
        raise TrustError(
            f"{store.where} has {len(found)} signatures of one bundle, more than the {MAX_SIGNATURES} that are checked"
        )
    return [_check_one(referrer, bundle, store, verifier) for referrer in found]


def read_referrers(bundle: Bundle, store: Store) -> None:
    """Read every referrer of a bundle to its end; raises `IntegrityError` for damaged ones."""
    for referrer in referrers(store, bundle):
        for blob in referrer.blobs:
            with store.open(blob) as stream:
                drain(stream)


def judge(bundle: Bundle, store: Store, policy: Policy, verifier: Verifier) -> list[TrustedSigner]:
    """Return the trusted signers of a bundle; raises `TrustError` when the policy requires other signers, or more."""
    found = find(bundle, store, verifier)
    refuse(check(policy, bundle.metadata.model.title, found), store.where)
    return trusted_signers(policy, bundle.metadata.model.title, found)


def refuse(refusals: Sequence[str], where: str) -> None:
    """Raise `TrustError` when there are refusals; ``where`` names the bundle."""
    if refusals:
        raise TrustError(
            f"{where} is not trusted: {'; '.join(refusals)}",
            hint="Let an allowed signer run `fps-bundle sign`. `fps-bundle verify` shows all signatures.",
        )


def _check_one(referrer: Referrer, bundle: Bundle, store: Store, verifier: Verifier) -> Signature:
    """Check one signature: first over the bytes as they are; only then is the statement parsed."""
    digest = referrer.descriptor.digest
    try:
        blobs = signature.parts(referrer, store.where)
        strict_json.check_size(blobs[0].size, f"{store.where}: a statement")
    except IntegrityError as error:
        return Signature(digest, fault=error.message)
    message, data = (_read(store, blob) for blob in blobs)
    checked = verifier.check(message, data)
    statement, fault = _parsed(message, bundle, store.where) if checked.fingerprint else (None, "")
    principals = checked.principals if statement else ()
    return Signature(digest, checked.key_type, checked.fingerprint, principals, statement, checked.fault or fault)


def _parsed(message: bytes, bundle: Bundle, where: str) -> tuple[Statement | None, str]:
    """Return the statement when it describes this bundle, else the reason why it cannot be used."""
    try:
        statement = Statement.from_bytes(message, where)
    except IntegrityError as error:
        return None, error.message
    fields = statement.disagreements(bundle.manifest, bundle.metadata)
    return (None, f"a signature is of another bundle: {', '.join(fields)} differ") if fields else (statement, "")


def _read(store: Store, blob: Descriptor) -> bytes:
    with store.open(blob) as stream:
        return stream.read()
