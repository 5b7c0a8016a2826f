"""Sign a bundle, and find out who did."""

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
from bundler.trust.policy import Policy, Signature, Voucher, check, vouchers

MAX_SIGNATURES = 100
"""How many signatures of one bundle are looked at."""


@dataclass(frozen=True)
class Signed:
    """What a key says of a bundle; ``added`` is false when it had said so before."""

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
    """Put a signature beside a bundle, unless this key has signed it, with this ``sequence`` if one is wanted."""
    statement = Statement.of(bundle.manifest, bundle.metadata, next_sequence(sequence), now())
    said = statement.to_bytes()
    data = signer.sign(said)
    made = verifier.check(said, data)
    if not made.fingerprint:
        raise TrustError(f"what ssh-keygen made does not hold: {made.fault}", hint="Try again, or with another key.")
    for known in find(bundle, store, verifier):
        if known.statement and known.fingerprint == made.fingerprint and sequence in (None, known.statement.sequence):
            return Signed(known.statement, made.key_type, made.fingerprint, False)
    store.attach(signature.build(bundle.manifest.descriptor, said, data))
    return Signed(statement, made.key_type, made.fingerprint, True)


def find(bundle: Bundle, store: Store, verifier: Verifier) -> list[Signature]:
    """All signatures that a store has of a bundle; raises `IntegrityError` for damaged ones."""
    found = [referrer for referrer in referrers(store, bundle) if signature.is_signature(referrer)]
    if len(found) > MAX_SIGNATURES:
        raise TrustError(
            f"{store.where} has {len(found)} signatures of one bundle, more than the {MAX_SIGNATURES} that are looked at"
        )
    return [_look(referrer, bundle, store, verifier) for referrer in found]


def read_referrers(bundle: Bundle, store: Store) -> None:
    """Read all that refers to a bundle; raises `IntegrityError` for what is damaged."""
    for referrer in referrers(store, bundle):
        for blob in referrer.blobs:
            with store.open(blob) as stream:
                drain(stream)


def judge(bundle: Bundle, store: Store, policy: Policy, verifier: Verifier) -> list[Voucher]:
    """Who vouches for a bundle; raises `TrustError` when the policy asks for others, or for more."""
    found = find(bundle, store, verifier)
    refuse(check(policy, bundle.metadata.model.title, found), store.where)
    return vouchers(policy, bundle.metadata.model.title, found)


def refuse(refusals: Sequence[str], where: str) -> None:
    """Raises `TrustError` when there are any."""
    if refusals:
        raise TrustError(
            f"{where} is not trusted: {'; '.join(refusals)}",
            hint="Have an allowed signer run: fps-bundle sign. `fps-bundle verify` shows all signatures.",
        )


def _look(referrer: Referrer, bundle: Bundle, store: Store, verifier: Verifier) -> Signature:
    """One signature: first whether it holds, of the bytes as they are, and only then what they say."""
    digest = referrer.descriptor.digest
    try:
        blobs = signature.parts(referrer, store.where)
        strict_json.check_size(blobs[0].size, f"{store.where}: a statement")
    except IntegrityError as error:
        return Signature(digest, fault=error.message)
    said, data = (_read(store, blob) for blob in blobs)
    checked = verifier.check(said, data)
    statement, fault = _understood(said, bundle, store.where) if checked.fingerprint else (None, "")
    principals = checked.principals if statement else ()
    return Signature(digest, checked.key_type, checked.fingerprint, principals, statement, checked.fault or fault)


def _understood(said: bytes, bundle: Bundle, where: str) -> tuple[Statement | None, str]:
    """What a statement says when it speaks of this bundle, and why it is of no use otherwise."""
    try:
        statement = Statement.from_bytes(said, where)
    except IntegrityError as error:
        return None, error.message
    fields = statement.disagreements(bundle.manifest, bundle.metadata)
    return (None, f"a signature speaks of another bundle: {', '.join(fields)} differ") if fields else (statement, "")


def _read(store: Store, blob: Descriptor) -> bytes:
    with store.open(blob) as stream:
        return stream.read()
