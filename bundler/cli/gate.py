"""What a command line says about trust, and the parts that act on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.cli import named_files
from bundler.errors import TrustError, UsageError

if TYPE_CHECKING:
    from bundler.bundle import Bundle
    from bundler.cli.console import Terminal
    from bundler.ports import Store
    from bundler.signatures.ssh import SshVerifier
    from bundler.trust.policy import Policy, Signature, Voucher
    from bundler.trust.signing import Signed
    from bundler.verbs.push import Seal

MAX_REASON = 1000
"""Characters of the longest reason for a downgrade, which becomes a label."""

NOBODY = "nobody vouches for this bundle: no allowed signers are configured here"


@dataclass(frozen=True)
class Gate:
    """Lets only those bundles pass that the policy of this host believes; with ``skip`` all of them, and says so."""

    allowed_signers: Path | None = None
    revoked: Path | None = None
    skip: bool = False

    def policy(self) -> Policy:
        from bundler.trust import policy_file

        return policy_file.load(policy_file.files(), self.allowed_signers, self.revoked)

    def admit(self, bundle: Bundle, store: Store, terminal: Terminal, *, silent: bool = False) -> Sequence[Voucher]:
        """Who vouches for a bundle; raises `TrustError` when it may not pass. ``silent`` where nobody may vouch."""
        from bundler.trust import signing

        if self.skip:
            terminal.warn("signatures are not looked at, as --insecure-ignore-signatures says")
            return ()
        policy = self.policy()
        if policy.allowed_signers is None:
            if not silent:
                terminal.warn(NOBODY)
            return ()
        found = signing.judge(bundle, store, policy, verifier(policy))
        terminal.say(f"signed by {', '.join(voucher.principal for voucher in found)}")
        return found

    def marks(self, downgrade: str | None = None) -> Mapping[str, str]:
        """The labels by which a new image says what its user did without."""
        from bundler.format import image

        skipped = {image.LABEL_TRUST: "skipped"} if self.skip else {}
        return skipped | ({image.LABEL_DOWNGRADE: downgrade} if downgrade else {})


class Newest:
    """The order of what is applied here: no bundle follows a newer one of the same signer unless there is a reason."""

    def __init__(self, bundle: Bundle, vouchers: Sequence[Voucher], tag: str, reason: str | None) -> None:
        from bundler.localfs import state_directory
        from bundler.trust import rollback
        from bundler.verbs import image_tags

        model = bundle.metadata.model
        self._ledger = rollback.Ledger(state_directory.directory())
        self._claims = rollback.claims(vouchers, model.title, model.data_set_uuid, image_tags.repository(tag), bundle.digest)
        self._reason = reason

    def check(self) -> None:
        """Raises `TrustError` when the bundle is older, or cannot be written down, before anything is fetched for it."""
        if self._claims:
            self._ledger.prepare()
        if self._claims and self._reason is None:
            self._ledger.check(self._claims)

    def new_signers(self) -> Sequence[str]:
        """The signers of whom nothing was applied here before, so that an older bundle of theirs could not be noticed."""
        return self._ledger.new_signers(self._claims) if self._claims else ()

    def noted(self) -> AbstractContextManager[None]:
        """Write the bundle down before its image gets its name; nobody vouches for it, nothing is written."""
        return self._ledger.advancing(self._claims, self._reason) if self._claims else nullcontext()


def check_reason(reason: str | None) -> None:
    """Raises `UsageError` for a reason that says nothing, or too much for a label."""
    if reason is not None and not 0 < len(reason.strip()) <= MAX_REASON:
        raise UsageError(
            f"--allow-downgrade wants a reason of at most {MAX_REASON} characters", hint="Say why the older one shall come."
        )


def verifier(policy: Policy) -> SshVerifier:
    """Checks signatures by the files that a policy names."""
    from bundler.signatures.ssh import SshVerifier
    from bundler.trust import policy_file

    return SshVerifier(
        policy_file.content(policy.allowed_signers, "the allowed signers"),
        policy_file.content(policy.revoked, "the revocation list"),
    )


def describe() -> str:
    """Whom this host believes, for people; raises `TrustError` when that cannot be told, or checked."""
    from bundler.localfs import state_directory
    from bundler.signatures import ssh
    from bundler.trust import rollback

    rollback.Ledger(state_directory.directory()).check(())
    policy = Gate().policy()
    if policy.allowed_signers is None:
        return "no allowed signers, so every bundle is taken"
    verifier(policy)
    ssh.check_is_here()
    return f"{policy.minimum} of those in {policy.allowed_signers}"


def signing_key(given: Path | None) -> Path | None:
    """The key of the command line, or else that of trust.toml; raises `TrustError` when the latter cannot be read."""
    if given:
        return given
    known = Gate().policy().signing_key
    try:
        return named_files.check(known) if known else None
    except UsageError as error:
        raise TrustError(
            f"the signing-key of trust.toml: {error.message}", hint="Correct trust.toml, or put the key there."
        ) from error


def sign(bundle: Bundle, store: Store, key: Path, sequence: int | None, terminal: Terminal) -> Signed:
    """Sign a bundle with a key; the terminal is its own while ssh-keygen may ask for a passphrase."""
    from functools import partial

    from bundler.localfs import state_directory
    from bundler.signatures.ssh import SshSigner, SshVerifier
    from bundler.trust import rollback, signing

    with terminal.still():
        numbers = partial(rollback.next_sequence, state_directory.directory())
        return signing.sign(bundle, store, SshSigner(key), SshVerifier(), sequence, numbers)


def seal(key: Path | None, terminal: Terminal) -> Seal | None:
    """Signs what a push makes, with the key of the command line or else that of trust.toml."""
    chosen = signing_key(key)
    if chosen is None:
        return None

    def sealed(bundle: Bundle, store: Store) -> None:
        terminal.say(told(sign(bundle, store, chosen, None, terminal)))

    return sealed


def told(signed: Signed) -> str:
    """What signing did, for people."""
    how = "signed" if signed.added else "had been signed"
    return f"{how} with the {signed.key_type} key {signed.fingerprint} as number {signed.statement.sequence}"


def described(signature: Signature) -> str:
    """One signature, for people."""
    key = f"{signature.key_type} key {signature.fingerprint}"
    if signature.statement is None:
        return f"no signature of this bundle ({signature.digest}): {signature.fault}"
    who = ", ".join(signature.principals) or "a stranger" + (f" ({signature.fault})" if signature.fault else "")
    return f"signed by {who} at {signature.statement.signed} as number {signature.statement.sequence}, with the {key}"


def as_json(signature: Signature) -> dict[str, object]:
    """One signature, for scripts."""
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
