"""Who may vouch for a bundle, and may it follow what was here? Decided by values alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from bundler.format import units
from bundler.format.content import Digest
from bundler.format.statement import Statement


@dataclass(frozen=True)
class Policy:
    """Whom this host believes; without ``allowed_signers``, a file in OpenSSH's format, everybody.

    ``may_sign`` has the titles, as globs, by principal; None lets every allowed signer sign all of them. ``signing_key``
    is what captures are signed with.
    """

    allowed_signers: Path | None = None
    revoked: Path | None = None
    minimum: int = 1
    may_sign: Mapping[str, Sequence[str]] | None = None
    signing_key: Path | None = None

    def lets_sign(self, principal: str, title: str) -> bool:
        if self.may_sign is None:
            return True
        return any(fnmatchcase(title, glob) for glob in self.may_sign.get(principal, ()))


@dataclass(frozen=True)
class Signature:
    """A signature that was found with a bundle: who made it, by which key, or in ``fault`` why it counts for nobody.

    It is ``wrong`` when it is no signature of this bundle at all, whoever made it.
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
class Voucher:
    """An allowed signer who signed the bundle, and the place that it has among what he signed."""

    principal: str
    sequence: int


def vouchers(policy: Policy, title: str, signatures: Iterable[Signature]) -> list[Voucher]:
    """Who vouches for a bundle of this title: each signer once, and for each key one signer."""
    by_key: dict[str, str] = {}
    sequences: dict[str, int] = {}
    for signature in signatures:
        allowed = [principal for principal in signature.principals if policy.lets_sign(principal, title)]
        if signature.statement and allowed:
            principal = by_key.setdefault(signature.fingerprint, allowed[0])
            sequences[principal] = max(signature.statement.sequence, sequences.get(principal, 0))
    return [Voucher(principal, sequence) for principal, sequence in sorted(sequences.items())]


def check(policy: Policy, title: str, signatures: Sequence[Signature]) -> list[str]:
    """All reasons for which a bundle is not believed; none means that it is."""
    if policy.allowed_signers is None:
        return []
    count = len(vouchers(policy, title, signatures))
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
        return f"the key {signature.fingerprint} counts for nobody: {signature.fault}"
    if any(policy.lets_sign(principal, title) for principal in signature.principals):
        return ""
    return f"{', '.join(signature.principals)} may not sign {title}"


@dataclass(frozen=True)
class Line:
    """What has one order of its own: a model's bundles by one signer, that become images of one repository."""

    title: str
    data_set_uuid: str
    principal: str
    repository: str


def check_sequence(line: Line, sequence: int, digest: Digest, newest: tuple[int, Digest] | None) -> str:
    """Why a bundle may not follow the ``newest`` that was applied of its line; empty when it may."""
    if newest is None or sequence > newest[0] or (sequence, digest) == newest:
        return ""
    if sequence == newest[0]:
        return f"{line.principal} signed another bundle with the same sequence {sequence}, and that was applied: {newest[1]}"
    return f"it is older than what was applied to {line.repository}: {line.principal} signed it as {sequence}, that as {newest[0]}"
