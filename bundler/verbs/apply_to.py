"""Apply to a store: write the new image of a bundle into a registry, layout or archive, without an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

from bundler.bundle import Bundle
from bundler.errors import UsageError
from bundler.format import image, launch, oci_image, units
from bundler.format.content import Digest
from bundler.format.image_compression import ImageCompression
from bundler.format.metadata import Base
from bundler.format.reference import LocalReference
from bundler.format.tar import Entry
from bundler.ports import ImageStore, Spool, Store
from bundler.streams import Progress
from bundler.trust.admission import Admission, Admitted
from bundler.verbs import apply, base_layers, engine_limits, image_tags, image_transfer, image_under_tag, privileges, verify
from bundler.verbs.apply import TAG_WAIT
from bundler.verbs.base_layers import ImageLayer
from bundler.verbs.base_source import FoundBase
from bundler.verbs.verify import Findings


@dataclass(frozen=True)
class ApplyToOptions:
    """What the caller chooses; the defaults are the strictest."""

    same_version: bool = False
    """Also accept a base with the same title, version and vendor but other layers."""
    force: bool = False
    """Replace also an image that fps-bundle did not make."""
    allow_privileged: bool = False
    """Accept files with more rights and changed launch settings without a trusted signature."""
    compression: ImageCompression = ImageCompression.zstd
    """The compression of the bundle's layers; with another one than zstd they are compressed again."""
    keep_previous: bool = False
    """Keep the image that had the tag, as ``TAG-previous``."""
    state_only: bool = False
    """Make an image of the bundle's layers alone."""
    ignore_removed: bool = False
    """Make an image of the state alone even if the model deleted files of its base, which stay in what it is mounted over."""
    dry_run: bool = False


@dataclass(frozen=True)
class Destination:
    """Where the new image goes."""

    store: ImageStore
    repository: str
    """The repository, or the path of a layout or archive: the place for which downgrades are refused."""
    previous: str = ""
    """The tag for the image that is there now, which is not kept without one."""
    previous_store: ImageStore | None = None
    """The store, opened for that tag."""


@dataclass(frozen=True)
class ApplyToResult:
    """The new image; after a dry run it has no ``digest`` when its layers would be compressed again."""

    bundle: Bundle
    base: FoundBase | None
    """None for an image of the state alone."""
    reference: str
    config_digest: Digest
    digest: Digest | None
    existed: bool = False
    previous: str = ""
    """The tag of the image that had the name before."""
    sent: int = 0
    """Bytes of blobs that were uploaded in this run."""
    changes: Sequence[launch.Change] = ()
    """The launch settings in which the new image differs from the base."""
    new_signers: Sequence[str] = ()
    """The trusted signers without a rollback record, for whom a downgrade could not be detected."""


FindBase = Callable[[Bundle], tuple[FoundBase, Base | None]]
"""Finds the base of a bundle, with its description where it is not the recorded one; raises `BaseMismatchError`."""


def apply_to(
    bundle: Bundle,
    source: Store,
    destination: Destination,
    find_base: FindBase,
    spool: Spool,
    progress: Progress,
    *,
    admission: Admission,
    options: ApplyToOptions,
) -> ApplyToResult:
    """Write the image of a bundle and its base to a destination, as far as ``admission`` accepts the bundle; the name comes last.

    Its config has the same bytes as that of the image that an engine gets. Raises `TrustError` for an untrusted or older bundle,
    `BaseMismatchError` without the right base, `PrivilegeError`, and `BusyError` when the name moves during the work.
    """
    admitted = admission.admit(bundle, source, progress)
    if options.state_only:
        _check_removed(bundle, ignored=options.ignore_removed)
        base, on = None, None
    else:
        base, on = find_base(bundle)
        engine_limits.warn_portable(len(base.config.diff_ids), len(bundle.metadata.layers), progress)
    if base and on:
        apply.warn_untested(base.name, progress)
    config = _config(admitted, on, state_only=options.state_only)
    return _Application(admitted, source, destination, base, on, config, spool, progress, options).run()


def _config(admitted: Admitted, on: Base | None, *, state_only: bool) -> bytes:
    bundle, labels = admitted.bundle, admitted.by.labels
    if state_only:
        return image.build_state_only(bundle.metadata, bundle.digest)
    return image.build_config(bundle.metadata, bundle.digest, on, labels)


@dataclass(frozen=True)
class _Application:
    """One bundle on the way to a destination."""

    admitted: Admitted
    source: Store
    destination: Destination
    base: FoundBase | None
    on: Base | None
    config: bytes
    spool: Spool
    progress: Progress
    options: ApplyToOptions

    @property
    def bundle(self) -> Bundle:
        return self.admitted.bundle

    @property
    def allowed(self) -> bool:
        return self.options.allow_privileged or self.admitted.trusted

    def run(self) -> ApplyToResult:
        """Check everything that needs no transfer, then verify, send and name."""
        store = self.destination.store
        holder = image_under_tag.read(store)
        image_under_tag.check(holder, store.where, force=self.options.force)
        image_under_tag.check_lineage(holder, store.where, self.admitted)
        if kept := self.destination.previous_store:
            image_under_tag.check(image_under_tag.read(kept), kept.where, force=self.options.force)
        rollback = self.admitted.rollback_check(self.destination.repository)
        new_signers = rollback.check_with_warning(f"{self.destination.repository} on this host", self.progress)
        changes = self._check_settings()
        result = ApplyToResult(
            self.bundle, self.base, store.where, Digest.of(self.config), None, changes=changes, new_signers=new_signers
        )
        if holder.has(store, Digest.of(self.config), self.options.compression, len(self.bundle.metadata.layers)):
            with nullcontext() if self.options.dry_run else rollback.recorded():
                return replace(result, digest=holder.digest, existed=True)
        with self._checked_layers() as layers, self._base_layers() as base:
            new = oci_image.build_manifest(self.config, [layer.descriptor for layer in (*base, *layers)])
            if self.options.dry_run:
                is_exact = self.options.compression is ImageCompression.zstd and not (self.base and self.base.digest is None)
                return replace(result, digest=new.descriptor.digest if is_exact else None)
            before = holder.descriptor
            previous = self.destination.previous if before and before.digest != new.descriptor.digest else ""
            resumes = not self.source.rereadable
            with store.upload_image(resumes=resumes) as upload:
                image_transfer.send([*base, *layers], self.config, upload, store, self.progress)
                with image_tags.locked(store.where, TAG_WAIT), rollback.recorded():
                    upload.name(new, before, previous)
        return replace(result, digest=new.descriptor.digest, previous=previous, sent=upload.sent)

    def _check_settings(self) -> Sequence[launch.Change]:
        if not self.base:
            return ()
        settings = image.settings(self.base.config.settings)
        changes = launch.changes(settings, image.restored(self.bundle.metadata, self.on))
        privileges.check_settings(changes, self.progress, allowed=self.allowed)
        return changes

    @contextmanager
    def _base_layers(self) -> Iterator[Sequence[ImageLayer]]:
        """Yield the layers of the base; a dry run reads none from an engine."""
        if not self.base or (self.options.dry_run and self.base.digest is None):
            yield ()
            return
        with self.base.layers() as layers:
            yield layers

    @contextmanager
    def _checked_layers(self) -> Iterator[Sequence[ImageLayer]]:
        """Yield the layers of the bundle, verified as an apply verifies them.

        Layers that a registry can mount stay there. They are not even read where the signature is trusted, or where this host
        has verified the bundle before: their digests are those that were signed or verified.
        """
        if self.options.compression is ImageCompression.zstd and self.destination.store.shares_blobs_with(self.source):
            self._check_findings(self._verified_in_place())
            yield _layers(self.bundle, self.source)
            return
        with verify.readable_layers(self.bundle, self.source, self.spool, self.progress) as (readable, local):
            self._check_findings(verify.once(readable, local, self.spool, self.progress))
            if self.options.compression is ImageCompression.zstd or self.options.dry_run:
                yield _layers(readable, local)
                return
            with image_transfer.recompressed(readable, local, self.spool, self.options.compression, self.progress) as layers:
                yield layers

    def _verified_in_place(self) -> Findings:
        privileged = self.bundle.metadata.privileged
        was_verified = self.spool.is_verified(self.bundle.digest, self.spool.open(LocalReference("")), verify.CHECKS)
        if self.admitted.trusted or (was_verified and not privileged):
            why = "its signature is trusted" if self.admitted.trusted else "this host has verified the bundle before"
            self.progress.note(f"the layers are not read again: {why}, and the registry has them by their digests")
            if privileged:
                self.progress.warn(f"the bundle has {units.counted(len(privileged), 'privileged file')}")
            return Findings()
        findings = verify.verify(self.bundle, self.source, self.progress)
        verify.note(self.bundle, findings, self.spool)
        return findings

    def _check_findings(self, findings: Findings) -> None:
        apply.check_kept(findings)
        privileges.check(findings.privileged, self._files_in_base, self.progress, allowed=self.allowed)

    def _files_in_base(self, wanted: Sequence[str]) -> Mapping[str, Entry]:
        if not self.base:
            return {}
        self.progress.stage("reading the base image to compare privileged files")
        with self.base.layers() as layers:
            return base_layers.files_at(wanted, layers, self.base.name)


def _layers(bundle: Bundle, store: Store) -> list[ImageLayer]:
    return [ImageLayer(layer, partial(store.open, layer), store) for layer in bundle.manifest.layers]


def _check_removed(bundle: Bundle, *, ignored: bool) -> None:
    """Raise `UsageError` for deletions in the bundle, which an image of the state alone cannot express."""
    removed = bundle.metadata.removed
    if removed and not ignored:
        raise UsageError(
            f"the model deleted {units.counted(len(removed), 'path')} of its base, such as {removed[0]}: "
            "an image of the state alone cannot delete them",
            hint="Make the whole image without --state-only, or leave these paths as they are with --ignore-removed.",
        )
