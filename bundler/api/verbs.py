"""The verbs as a library offers them. They check policy, rollback order and locks exactly as the command line does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.api import engines, stores, trust
from bundler.api.engines import MigratorOptions
from bundler.streams import NULL_PROGRESS, Progress

if TYPE_CHECKING:
    from bundler.bundle import Bundle
    from bundler.format.delta_manifest import DeltaManifest
    from bundler.format.launch import Change
    from bundler.models.grpc import GrpcModel
    from bundler.ports import Container, Engine, ReplacingEngine, Store
    from bundler.trust.admission import Admission
    from bundler.trust.policy import Policy, Signature
    from bundler.trust.signing import Signed
    from bundler.verbs.apply import ApplyOptions, ApplyResult
    from bundler.verbs.copy import CopyResult, Plan
    from bundler.verbs.extract import ExtractOptions, ExtractResult
    from bundler.verbs.ingest import IngestOptions, IngestResult
    from bundler.verbs.push import Options as PushOptions
    from bundler.verbs.push import PushResult
    from bundler.verbs.replace import Replaced, ReplaceOptions, ReplaceResult
    from bundler.verbs.verify import Findings


@dataclass(frozen=True)
class Verification:
    """A bundle whose contents were verified, with its signatures; ``refusals`` tells why it is not trusted."""

    bundle: Bundle
    findings: Findings
    signatures: Sequence[Signature]
    refusals: Sequence[str]
    """Empty when the policy accepts the bundle, and no signature is wrong."""
    policy: Policy

    @property
    def trusted(self) -> bool | None:
        """Whether the policy accepts the bundle; None when it has no allowed signers."""
        return not self.refusals if self.policy.allowed_signers else None


@dataclass(frozen=True)
class Inspection:
    """A bundle, its signatures (``fault`` tells what is wrong with one), and the launch settings that differ from the base."""

    bundle: Bundle
    signatures: Sequence[Signature]
    changes: Sequence[Change]


def push(
    container: str,
    destination: Store,
    engine: Engine,
    *,
    options: PushOptions | None = None,
    migrator: MigratorOptions | None = None,
    sign_key: Path | None = None,
    start: bool = False,
    progress: Progress = NULL_PROGRESS,
) -> PushResult:
    """Push the state of a running container as a bundle to ``destination``; with ``start`` a stopped one is started for that.

    The container is locked, and paused only while its files are read. Raises `ModelError` when the state cannot be exported.
    """
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import push as verb
    from bundler.verbs.push_destination import RemoteTarget

    def seal(bundle: Bundle, store: Store) -> None:
        assert sign_key
        trust.sign_bundle(bundle, store, sign_key)

    found = engine.container(container)
    target = stores.local_reference(destination) or RemoteTarget(stores.containing_store(destination), destination)
    with (
        verb.running(found, engine, start=start) as model,
        engines.migrator(engine, model, migrator or MigratorOptions()) as connected,
    ):
        return verb.push(
            model, engine, connected, LocalSpool(), target, progress, options or verb.Options(), seal if sign_key else None
        )


def apply(
    source: Store,
    engine: Engine,
    *,
    admission: Admission,
    options: ApplyOptions | None = None,
    progress: Progress = NULL_PROGRESS,
) -> ApplyResult:
    """Make a new image from the bundle of ``source`` and its base image on the engine, as far as ``admission`` accepts it.

    Raises `TrustError` for an untrusted or older bundle, `IntegrityError` for a damaged one, and `BaseMismatchError`.
    """
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import apply as verb

    stores.look_for_sources_on(engine, source)
    return verb.apply(source, engine, LocalSpool(), progress, admission=admission, options=options)


def extract(
    source: Store,
    directory: Path,
    *,
    admission: Admission,
    options: ExtractOptions | None = None,
    progress: Progress = NULL_PROGRESS,
) -> ExtractResult:
    """Write the files of the bundle of ``source`` below a directory, as far as ``admission`` accepts it.

    All of them are verified before the first one gets its name. Raises `TrustError` for an untrusted or older bundle,
    `IntegrityError` for a damaged one, and `UsageError` for files that are in the way.
    """
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import extract as verb

    return verb.extract(source, directory, LocalSpool(), progress, admission=admission, options=options)


def replace(
    source: Store,
    container: str,
    engine: ReplacingEngine,
    *,
    admission: Admission,
    options: ApplyOptions | None = None,
    replacing: ReplaceOptions | None = None,
    progress: Progress = NULL_PROGRESS,
) -> ReplaceResult:
    """Apply the bundle of ``source`` as `apply` does, and run the new image in place of a container, with its run options.

    The old container is kept, stopped, as NAME-previous. Raises what `apply` raises, `UsageError` for a container that
    cannot be replaced, and `ModelError` when the new one does not get ready; then the old one runs again.
    """
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import replace as verb

    stores.look_for_sources_on(engine, source)
    connect = partial(_migrator_of, engine)
    return verb.replace(
        container, source, engine, connect, LocalSpool(), progress, admission=admission, options=options, replacing=replacing
    )


def undo_replace(
    container: str, engine: ReplacingEngine, *, ready_timeout: float = 60, progress: Progress = NULL_PROGRESS
) -> Replaced:
    """Run the container NAME-previous in place of a container that replaced it; the two swap names.

    Raises `NotFoundError` when there is none, and `ModelError` when it does not get ready; then the other one runs again.
    """
    from bundler.verbs import replace as verb

    return verb.undo(container, engine, partial(_migrator_of, engine), progress, ready_timeout=ready_timeout)


def _migrator_of(engine: Engine, container: Container, wait: float) -> AbstractContextManager[GrpcModel]:
    return engines.migrator(engine, container, MigratorOptions(wait=wait))


def ingest(
    old: str | Store,
    onto: str,
    tag: str,
    engine: Engine,
    *,
    admission: Admission,
    options: IngestOptions | None = None,
    migrator: MigratorOptions | None = None,
    export: bool = True,
    progress: Progress = NULL_PROGRESS,
) -> IngestResult:
    """Bring the state of an older model, a container's name or the bundle of a store, onto the newer base image ``onto``.

    A bundle must be accepted by ``admission``. With ``export`` a running container is asked to write its memory to disk
    first. ``migrator`` describes that of the new model. Raises `ModelError` when the new model fails its Ingest.
    """
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import ingest as verb

    asked = partial(engines.migrator, engine, options=MigratorOptions())
    connect = partial(engines.migrator, engine, options=migrator or MigratorOptions())
    source: verb.OldContainer | verb.OldBundle
    if isinstance(old, str):
        source = verb.OldContainer(engine.container(old), asked if export else None)
    else:
        stores.look_for_sources_on(engine, old)
        source = verb.OldBundle(old, admission)
    return verb.ingest(nullcontext(source), onto, tag, engine, connect, LocalSpool(), progress, options=options)


def copy(
    source: Store,
    target: Store,
    *,
    admission: Admission,
    bundle: Bundle | None = None,
    delta: DeltaManifest | None = None,
    progress: Progress = NULL_PROGRESS,
) -> CopyResult:
    """Copy a bundle, or the ``delta`` that makes it, and the bundle's signatures to another store.

    A copy into the local store must be accepted by ``admission``, and its layers are verified. Raises `TrustError` otherwise.
    """
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import copy as verb
    from bundler.verbs import verify as verifying

    bundle, is_import = _accepted(source, target, admission, bundle, progress)
    if is_import:
        return verifying.take_in(bundle, stores.containing_store(source), target, LocalSpool(), progress)
    return verb.copy(stores.containing_store(source), target, progress, bundle, delta=delta)


def plan_copy(
    source: Store,
    target: Store,
    *,
    admission: Admission,
    bundle: Bundle | None = None,
    delta: DeltaManifest | None = None,
    progress: Progress = NULL_PROGRESS,
) -> Plan:
    """Find out which blobs `copy` would send, without any change; raises `TrustError` where `copy` would refuse the bundle."""
    from bundler.verbs import copy as verb

    bundle, _ = _accepted(source, target, admission, bundle, progress)
    return verb.plan(stores.containing_store(source), target, bundle, delta)


def _accepted(source: Store, target: Store, admission: Admission, bundle: Bundle | None, progress: Progress) -> tuple[Bundle, bool]:
    """Return the bundle to copy, and whether the copy brings it into the local store, whose bundles are admitted and verified."""
    from bundler.bundle import read_bundle

    bundle = bundle or read_bundle(source)
    is_import = bool(stores.local_reference(target)) and not stores.local_reference(source)
    if is_import:
        admission.admit(bundle, source, progress, warn_unconfigured=False)
    return bundle, is_import


def verify(source: Store, *, policy: Policy | None = None, progress: Progress = NULL_PROGRESS) -> Verification:
    """Verify all contents and signatures of a bundle; by default by the policy of this host.

    Raises `IntegrityError` when content is damaged. A bundle that is not trusted has ``refusals``.
    """
    from bundler.bundle import read_bundle
    from bundler.stores.layout.local import LocalSpool
    from bundler.trust import signing
    from bundler.trust.policy import check
    from bundler.verbs import damage
    from bundler.verbs import verify as verb

    policy = policy or trust.load_policy()
    manifest = source.resolve()
    with damage.named(source, progress, manifest):
        bundle = read_bundle(source, manifest)
        signatures = signing.find(bundle, source, trust.ssh_verifier(policy))
        findings = verb.verify(bundle, source, progress)
        signing.read_referrers(bundle, source)
    if stores.local_reference(source):
        verb.note(bundle, findings, LocalSpool())
    refusals = check(policy, bundle.metadata.model.title, signatures)
    refusals = refusals or [signature.fault for signature in signatures if signature.wrong]
    return Verification(bundle, findings, signatures, refusals, policy)


def sign(source: Store, key: Path, *, sequence: int | None = None) -> Signed:
    """Sign a bundle with an SSH key, and attach the signature to it in its store.

    By default the sequence number is the next one of this host. Raises `TrustError` when the key cannot be used.
    """
    from bundler.bundle import read_bundle

    return trust.sign_bundle(read_bundle(source), source, key, sequence)


def inspect(source: Store, *, policy: Policy | None = None, bundle: Bundle | None = None) -> Inspection:
    """Read a bundle, unless it was read already, and its signatures; checks these by the policy of this host by default."""
    from bundler.bundle import read_bundle
    from bundler.format import image, launch
    from bundler.trust import signing

    bundle = bundle or read_bundle(source)
    signatures = signing.find(bundle, source, trust.ssh_verifier(policy or trust.load_policy()))
    return Inspection(bundle, signatures, launch.changes(bundle.metadata.base.config, image.restored(bundle.metadata)))
