"""Admission: whether this host accepts a bundle. Verbs that use bundles from elsewhere require an `Admission`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundler.errors import UsageError
from bundler.trust.policy import Policy, TrustedSigner

if TYPE_CHECKING:
    from bundler.bundle import Bundle
    from bundler.ports import Store, Verifier
    from bundler.streams import Progress

MAX_REASON = 1000
"""Most characters of the reason for a downgrade, which becomes an image label."""

NO_ALLOWED_SIGNERS = "signatures not checked: no allowed signers configured on this host"


@dataclass(frozen=True)
class Admission:
    """How a host decides about a bundle; made by `by_policy`, or explicitly by `unchecked`.

    ``allow_downgrade`` is the reason for which an older bundle than the newest applied one is accepted. It is recorded.
    """

    policy: Policy
    verifier: Verifier | None = None
    skip_reason: str = ""
    allow_downgrade: str | None = None

    def __post_init__(self) -> None:
        if self.policy.allowed_signers is not None and self.verifier is None:
            raise UsageError("a policy with allowed signers needs a verifier", hint="Pass a verifier that knows these signers.")
        if self.allow_downgrade is not None and not 0 < len(self.allow_downgrade.strip()) <= MAX_REASON:
            raise UsageError(
                f"--allow-downgrade needs a reason of 1 to {MAX_REASON} characters", hint="State why the older bundle is needed."
            )

    @classmethod
    def by_policy(cls, policy: Policy, verifier: Verifier | None, *, allow_downgrade: str | None = None) -> Admission:
        """Accept the bundles that have the signatures that ``policy`` requires; ``verifier`` checks them.

        Raises `UsageError` for a policy with allowed signers without a verifier, and for a reason that is empty or too long.
        """
        return cls(policy, verifier, allow_downgrade=allow_downgrade)

    @classmethod
    def unchecked(cls, reason: str, *, allow_downgrade: str | None = None) -> Admission:
        """Accept every bundle without checking signatures; new images are labelled, and ``reason`` is shown as a warning."""
        if not reason.strip():
            raise UsageError("skipping signature checks needs a reason", hint="State why signatures are not checked.")
        return cls(Policy(), skip_reason=reason, allow_downgrade=allow_downgrade)

    def admit(self, bundle: Bundle, store: Store, progress: Progress, *, warn_unconfigured: bool = True) -> Admitted:
        """Check the signatures of a bundle; raises `TrustError` when the policy refuses it.

        Without allowed signers every bundle is accepted, with a warning unless ``warn_unconfigured`` is false.
        """
        if self.skip_reason:
            progress.warn(f"signatures not checked: {self.skip_reason}")
            return Admitted(bundle, (), self)
        if self.policy.allowed_signers is None:
            if warn_unconfigured:
                progress.warn(NO_ALLOWED_SIGNERS)
            return Admitted(bundle, (), self)
        from bundler.trust import signing

        assert self.verifier
        signers = signing.judge(bundle, store, self.policy, self.verifier)
        progress.note(f"signed by {', '.join(signer.principal for signer in signers)}")
        return Admitted(bundle, tuple(signers), self)

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of a new image that record a skipped check or an allowed downgrade."""
        from bundler.format import image

        skipped = {image.LABEL_TRUST: "skipped"} if self.skip_reason else {}
        return skipped | ({image.LABEL_DOWNGRADE: self.allow_downgrade} if self.allow_downgrade else {})


@dataclass(frozen=True)
class Admitted:
    """A bundle that this host accepts, with its trusted signers; made by `Admission.admit`."""

    bundle: Bundle
    signers: Sequence[TrustedSigner]
    by: Admission

    @property
    def trusted(self) -> bool:
        """Whether trusted signatures were verified, so that privileged files and changed settings are accepted."""
        return bool(self.signers)

    def rollback_check(self, repository: str) -> RollbackCheck:
        """Return the rollback protection of this bundle for the images of ``repository``."""
        return RollbackCheck(self, repository)


class RollbackCheck:
    """Refuses a bundle that is older than the newest applied one of the same signer, model and repository.

    A bundle without trusted signers has no order: it is neither checked nor recorded.
    """

    def __init__(self, admitted: Admitted, repository: str) -> None:
        from bundler.localfs import state_directory
        from bundler.trust import rollback

        bundle, model = admitted.bundle, admitted.bundle.metadata.model
        self._file = rollback.RollbackRecords(state_directory.directory())
        self._records = rollback.records_of(admitted.signers, model.title, model.data_set_uuid, repository, bundle.digest)
        self._reason = admitted.by.allow_downgrade

    def check(self) -> None:
        """Raise `TrustError` for a downgrade, or when it cannot be recorded, before anything is fetched."""
        if not self._records:
            return
        self._file.prepare()
        if self._reason is None:
            self._file.check(self._records)

    def new_signers(self) -> Sequence[str]:
        """Return the signers without a record, for whom a downgrade could not be detected."""
        return self._file.new_signers(self._records) if self._records else ()

    def check_with_warning(self, where: str, progress: Progress) -> Sequence[str]:
        """Do as `check`, and return `new_signers` after a warning about them; ``where`` names the place in it."""
        self.check()
        new_signers = self.new_signers()
        if new_signers:
            progress.warn(f"no rollback record yet of {', '.join(new_signers)} for {where}: an older bundle would not be detected")
        return new_signers

    def recorded(self) -> AbstractContextManager[None]:
        """Record the bundle before the block, in which the image is tagged; raises `TrustError` for a downgrade."""
        return self._file.advancing(self._records, self._reason) if self._records else nullcontext()
