"""The trust of this host: its policy, a verifier for that, admission, and signing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.trust.admission import Admission

if TYPE_CHECKING:
    from bundler.bundle import Bundle
    from bundler.ports import Store
    from bundler.signatures.ssh import SshVerifier
    from bundler.trust.policy import Policy
    from bundler.trust.signing import Signed


def load_policy(allowed_signers: Path | None = None, revoked: Path | None = None) -> Policy:
    """Return the policy of this host and user; the arguments replace what ``trust.toml`` names. Raises `TrustError`."""
    from bundler.trust import policy_file

    return policy_file.load(policy_file.files(), allowed_signers, revoked)


def ssh_verifier(policy: Policy) -> SshVerifier:
    """Return a verifier of SSH signatures with the files that a policy names; raises `TrustError` for a missing file."""
    from bundler.signatures.ssh import SshVerifier
    from bundler.trust import policy_file

    return SshVerifier(
        policy_file.content(policy.allowed_signers, "the allowed signers"),
        policy_file.content(policy.revoked, "the revocation list"),
    )


def host_admission(
    *, allowed_signers: Path | None = None, revoked: Path | None = None, allow_downgrade: str | None = None
) -> Admission:
    """Return the admission by the policy of this host, as the command line uses it.

    ``allow_downgrade`` is a reason for which an older bundle is accepted, and is recorded. Raises `TrustError` for a policy
    that cannot be read.
    """
    policy = load_policy(allowed_signers, revoked)
    verifier = ssh_verifier(policy) if policy.allowed_signers else None
    return Admission.by_policy(policy, verifier, allow_downgrade=allow_downgrade)


def sign_bundle(bundle: Bundle, store: Store, key: Path, sequence: int | None = None) -> Signed:
    """Sign a bundle with an SSH key; by default with the next sequence number of this host. Raises `TrustError`."""
    from bundler.localfs import state_directory
    from bundler.signatures.ssh import SshSigner, SshVerifier
    from bundler.trust import rollback, signing

    numbers = partial(rollback.next_sequence, state_directory.directory())
    return signing.sign(bundle, store, SshSigner(key), SshVerifier(), sequence, numbers)
