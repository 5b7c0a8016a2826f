"""The rules of trust: which signatures count, and which bundle may follow which. Functions of values; they open no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from bundler.format import units
from bundler.format.content import Digest
from bundler.format.statement import Statement


@dataclass(frozen=True)
class Policy:
    """Which signatures this host requires; without ``allowed_signers``, a file in OpenSSH's format, none.

    ``may_sign`` has the titles, as globs, by principal; None allows every signer all titles. ``minimum`` is the number of
    different signers that a bundle needs. ``signing_key`` is the key that pushes are signed with.
    """

    allowed_signers: Path | None = None
    revoked: Path | None = None
    minimum: int = 1
    may_sign: Mapping[str, Sequence[str]] | None = None
    signing_key: Path | None = None

    def may_sign_title(self, principal: str, title: str) -> bool:
        """Whether the policy accepts signatures of ``principal`` for bundles of this title."""
        if self.may_sign is None:
            return True
        return any(fnmatchcase(title, glob) for glob in self.may_sign.get(principal, ()))


@dataclass(frozen=True)
class Signature:
    """A signature found beside a bundle: its principals and its key, or in ``fault`` the reason why it does not count.

    It is ``wrong`` when it does not sign this bundle at all, whichever key made it.
    """

    digest: Digest
    key_type: str = ""
    fingerprint: str = ""
    principals: Sequence[str] = ()
    statement: Statement | None = None
    fault: str = ""

    @property
    def wrong(self) -> bool:
        return self.statement is None


@dataclass(frozen=True)
class TrustedSigner:
    """An allowed signer of a bundle, with the sequence number of its signature, and its time by the signer's clock."""

    principal: str
    sequence: int
    signed: str = field(default="", compare=False)


def trusted_signers(policy: Policy, title: str, signatures: Iterable[Signature]) -> list[TrustedSigner]:
    """Return the allowed signers of a bundle of this title: each signer once, and for each key one signer."""
    by_key: dict[str, str] = {}
    newest: dict[str, TrustedSigner] = {}
    for signature in signatures:
        allowed = [principal for principal in signature.principals if policy.may_sign_title(principal, title)]
        if signature.statement and allowed:
            principal = by_key.setdefault(signature.fingerprint, allowed[0])
            signer = TrustedSigner(principal, signature.statement.sequence, signature.statement.signed)
            newest[principal] = max(signer, newest.get(principal, signer), key=lambda it: it.sequence)
    return [signer for _, signer in sorted(newest.items())]


def check(policy: Policy, title: str, signatures: Sequence[Signature]) -> list[str]:
    """Return all reasons why a bundle is not trusted; an empty list means that it is, or that the policy requires nothing."""
    if policy.allowed_signers is None:
        return []
    count = len(trusted_signers(policy, title, signatures))
    if count >= policy.minimum:
        return []
    if not signatures:
        return ["it is not signed"]
    faults = [fault for signature in signatures if (fault := _fault(policy, title, signature))]
    trusted = units.counted(count, "trusted signature") if count else "no trusted signature"
    return [f"{trusted} ({policy.minimum} required)", *faults]


def _fault(policy: Policy, title: str, signature: Signature) -> str:
    if signature.wrong:
        return signature.fault
    if signature.fault:
        return f"key {signature.fingerprint} does not count: {signature.fault}"
    if any(policy.may_sign_title(principal, title) for principal in signature.principals):
        return ""
    return f"{', '.join(signature.principals)} may not sign {title}"


@dataclass(frozen=True)
class RollbackKey:
    """What sequence numbers are compared within: one model's bundles by one signer, applied to one repository."""

    title: str
    data_set_uuid: str
    principal: str
    repository: str


@dataclass(frozen=True)
class SignedBundle:
    """A bundle by what one signer said of it; the order is that of ``sequence``, and ``signed`` is for the message alone."""

    sequence: int
    digest: Digest
    signed: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"sequence {self.sequence}" + (f" ({self.signed})" if self.signed else "")


def check_sequence(key: RollbackKey, bundle: SignedBundle, newest: SignedBundle | None) -> str:
    """Return why a bundle may not follow the ``newest`` applied one with this key; empty when it may."""
    if newest is None or bundle.sequence > newest.sequence or bundle == newest:
        return ""
    if bundle.sequence == newest.sequence:
        return f"{key.principal} signed another bundle with the same {bundle}, which was applied: {newest.digest}"
    return (
        f"this bundle is older than the newest one applied to {key.repository}: "
        f"{key.principal} signed it with {bundle}, that one with {newest}"
    )
