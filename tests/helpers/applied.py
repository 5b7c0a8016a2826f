"""Apply a bundle on a host without allowed signers, as most tests do."""

from __future__ import annotations

from fakes import RecordingProgress

from bundler.bundle import Bundle
from bundler.format.metadata import Base
from bundler.ports import Engine, Image, Spool, Store
from bundler.streams import Progress
from bundler.trust.admission import Admission, Admitted
from bundler.trust.policy import Policy
from bundler.verbs import apply as applying

UNCONFIGURED = Admission.by_policy(Policy(), None)
"""The admission of a host without a policy."""


def admitted(bundle: Bundle, store: Store) -> Admitted:
    """Admit a bundle where no allowed signers are configured."""
    return UNCONFIGURED.admit(bundle, store, RecordingProgress())


def apply(
    bundle: Bundle,
    store: Store,
    base: Image,
    tag: str,
    engine: Engine,
    spool: Spool,
    progress: Progress,
    *,
    dry_run: bool,
    on: Base | None = None,
    allow_privileged: bool = False,
) -> applying.ApplyResult:
    """Apply an unsigned bundle to a base under a tag."""
    admission = admitted(bundle, store)
    return applying.apply_admitted(
        admission, store, base, tag, engine, spool, progress, dry_run=dry_run, on=on, allow_privileged=allow_privileged
    )
