"""Trust on the command line: admission by its options, the signing key, and signatures for humans and scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bundler.cli import named_files
from bundler.errors import TrustError, UsageError

if TYPE_CHECKING:
    from bundler.bundle import Bundle
    from bundler.cli.console import Terminal
    from bundler.cli.option_groups import Trust
    from bundler.ports import Store
    from bundler.trust.admission import Admission
    from bundler.trust.policy import Signature
    from bundler.trust.signing import Signed
    from bundler.verbs.push_destination import Seal


def admission(chosen: Trust, allow_downgrade: str | None = None) -> Admission:
    """Return the admission that the options of a command describe."""
    from bundler.api import trust
    from bundler.trust.admission import Admission

    if chosen.ignore_signatures:
        return Admission.unchecked("disabled by an option of this command", allow_downgrade=allow_downgrade)
    return trust.host_admission(allowed_signers=chosen.allowed_signers, revoked=chosen.revoked, allow_downgrade=allow_downgrade)


def describe_policy() -> str:
    """Describe the policy of this host for humans; raises `TrustError` when it or the rollback records cannot be used."""
    from bundler.api import trust
    from bundler.localfs import state_directory
    from bundler.signatures import ssh
    from bundler.trust import rollback

    rollback.RollbackRecords(state_directory.directory()).check(())
    policy = trust.load_policy()
    if policy.allowed_signers is None:
        return "no allowed signers, so every bundle is accepted"
    trust.ssh_verifier(policy)
    ssh.check_is_here()
    return f"{policy.minimum} of those in {policy.allowed_signers}"


def signing_key(given: Path | None) -> Path | None:
    """Return the key of the command line, else that of trust.toml; raises `TrustError` when the latter cannot be read."""
    from bundler.api import trust

    if given:
        return given
    configured = trust.load_policy().signing_key
    try:
        return named_files.check(configured) if configured else None
    except UsageError as error:
        raise TrustError(
            f"signing-key of trust.toml: {error.message}", hint="Correct trust.toml, or create the key there."
        ) from error


def sign(bundle: Bundle, store: Store, key: Path, sequence: int | None, terminal: Terminal) -> Signed:
    """Sign a bundle with a key; progress is not drawn meanwhile, because ssh-keygen may ask for a passphrase."""
    from bundler.api import trust

    with terminal.still():
        return trust.sign_bundle(bundle, store, key, sequence)


def seal(key: Path | None, terminal: Terminal) -> Seal | None:
    """Return what signs a pushed bundle, with the key of the command line or that of trust.toml; None without a key."""
    chosen = signing_key(key)
    if chosen is None:
        return None

    def sealed(bundle: Bundle, store: Store) -> None:
        terminal.say(describe_signed(sign(bundle, store, chosen, None, terminal)))

    return sealed


def describe_signed(signed: Signed) -> str:
    """Describe the result of signing for humans."""
    how = "signed" if signed.added else "already signed"
    return f"{how} with the {signed.key_type} key {signed.fingerprint}, sequence {signed.statement.sequence}"


def describe(signature: Signature) -> str:
    """Describe one signature for humans."""
    key = f"{signature.key_type} key {signature.fingerprint}"
    if signature.statement is None:
        return f"not a signature of this bundle ({signature.digest}): {signature.fault}"
    signer = ", ".join(signature.principals) or "an unknown key" + (f" ({signature.fault})" if signature.fault else "")
    return f"signed by {signer} at {signature.statement.signed}, sequence {signature.statement.sequence}, with the {key}"


def as_json(signature: Signature) -> dict[str, object]:
    """Return one signature for scripts."""
    statement = signature.statement
    return {
        "digest": str(signature.digest),
        "principals": list(signature.principals),
        "keyType": signature.key_type or None,
        "fingerprint": signature.fingerprint or None,
        "signed": statement.signed if statement else None,
        "sequence": statement.sequence if statement else None,
        "fault": signature.fault or None,
    }
