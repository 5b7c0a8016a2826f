"""Extract: write the files of a bundle into a directory, all of them verified before the first one gets its name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bundler.bundle import Bundle, read_bundle
from bundler.errors import UsageError, disk_errors
from bundler.format import paths, units
from bundler.format.toc import Table
from bundler.localfs import staging
from bundler.localfs.atomic_file import check_space, sync_directory
from bundler.localfs.walk import Walk
from bundler.ports import Recompressing, Spool, Store
from bundler.streams import Progress
from bundler.trust.admission import Admission, RollbackCheck
from bundler.verbs import verify
from bundler.verbs.extract_comparison import Comparison
from bundler.verbs.extract_entries import Entries
from bundler.verbs.extract_plan import Owner, Plan, Planner, Rules
from bundler.verbs.extract_selection import Selection
from bundler.verbs.extract_writer import Writer, set_attributes

__all__ = ["ExtractOptions", "ExtractResult", "Owner", "extract"]


@dataclass(frozen=True)
class ExtractOptions:
    """What the caller chooses; the defaults are the strictest."""

    paths: Sequence[str] = ()
    """Wanted paths of the bundle, absolute, with globs; all by default."""
    strip: str = "/"
    """The directory of the bundle whose content goes directly into the target."""
    owner: Owner | None = None
    """Which owners files get; by default the recorded ones for root, else this user."""
    overwrite: bool = False
    """Replace files of the target that differ."""
    delete: bool = False
    """Also remove from the target what the model deleted of its base."""
    allow_privileged: bool = False
    """Accept files with setuid, setgid or a capability."""
    if_empty: bool = False
    """Read and write nothing if the target has files already."""
    dry_run: bool = False


@dataclass(frozen=True)
class ExtractResult:
    """What was written to the target, or would be after a dry run; ``size`` is in bytes."""

    bundle: Bundle | None
    """None when the bundle was not read, because the target has files already."""
    directory: Path
    files: int = 0
    links: int = 0
    directories: int = 0
    size: int = 0
    unchanged: int = 0
    overwritten: int = 0
    deleted: int = 0
    skipped_attributes: int = 0
    new_signers: Sequence[str] = ()
    """The trusted signers without a rollback record, for whom a downgrade could not be detected."""

    @property
    def is_unchanged(self) -> bool:
        """Whether the target had everything already."""
        return not (self.files or self.links or self.directories or self.deleted)


def extract(
    source: Store,
    directory: Path,
    spool: Spool,
    progress: Progress,
    *,
    admission: Admission,
    options: ExtractOptions | None = None,
) -> ExtractResult:
    """Write the files of a bundle below a directory, as far as ``admission`` accepts the bundle.

    Raises `TrustError` for an untrusted or older bundle, `IntegrityError` for a damaged one, `NotFoundError` for a path that
    matches nothing, `PrivilegeError`, `NoSpaceError`, and `UsageError` for what is in the way. Then nothing has a name.
    """
    options = options or ExtractOptions()
    selection = Selection(options.paths, options.strip)
    place = staging.real_directory(directory)
    if options.if_empty and staging.has_files(place):
        return ExtractResult(None, place)
    admitted = admission.admit(read_bundle(source), source, progress)
    rollback = admitted.rollback_check(paths.encode(str(place)))
    new_signers = rollback.check_with_warning(str(place), progress)
    with ExitStack() as opened:
        top = opened.enter_context(staging.opened_directory(place))
        bundle, store = opened.enter_context(_readable(admitted.bundle, source, spool, progress))
        comparison = opened.enter_context(closing(Comparison(top)))
        progress.stage(f"comparing {place} with the bundle")
        owner = options.owner or (Owner.keep if os.geteuid() == 0 else Owner.me)
        rules = Rules(owner, options.overwrite, options.delete, options.allow_privileged)
        plan = Planner(bundle, selection, comparison, rules).read(Entries(bundle, store, progress))
        skipped = 0
        if plan.has_work or (top is not None and staging.is_left(top)):
            if not options.dry_run:
                skipped = _write(plan, place, top, store, rollback, progress, overwrite=options.overwrite)
        elif not options.dry_run:
            with rollback.recorded():
                """The target has everything already."""
    skipped += plan.skipped_capabilities
    if skipped:
        progress.warn(
            f"{units.counted(skipped, 'attribute')} not kept: this user cannot set them, or the file system has none such"
        )
    return ExtractResult(
        admitted.bundle,
        place,
        plan.files,
        plan.links,
        plan.made + plan.updated,
        plan.size,
        plan.unchanged,
        plan.overwritten,
        len(plan.removed),
        skipped,
        new_signers,
    )


@contextmanager
def _readable(bundle: Bundle, source: Store, spool: Spool, progress: Progress) -> Iterator[tuple[Bundle, Store]]:
    """Yield the bundle and a store whose layers can be read in part; a bundle that cannot be is fetched into the local store."""
    layers = bundle.manifest.layers
    is_made = isinstance(source, Recompressing) and any(source.makes(blob) for blob in layers)
    if source.rereadable or not (is_made or any(Table.of(blob) is None for blob in layers)):
        yield bundle, source
        return
    with verify.readable_layers(bundle, source, spool, progress) as readable:
        yield readable


def _write(
    plan: Plan, place: Path, top: int | None, store: Store, rollback: RollbackCheck, progress: Progress, *, overwrite: bool
) -> int:
    """Stage everything, then give it its names; return the number of attributes that could not be set."""
    check_space(place if top is not None else place.parent, plan.space)
    with _target(place, top) as target, staging.staged(place, target) as staged, Walk(target) as walk:
        writer = Writer(store, staged, walk, progress)
        with closing(writer):
            unlisted = (it.blob for it, records in plan.layers if records.count and Table.of(it.blob) is None)
            size = plan.compressed + sum(blob.size for blob in unlisted)
            progress.stage(f"writing {units.counted(plan.files, 'file')}", size)
            for layer, records in plan.layers:
                writer.write(layer, records)
            writer.make_directories(plan.directories)
        progress.stage(f"syncing {place}")
        staged.sync()
        progress.stage(f"naming the files in {place}")
        with rollback.recorded():
            staged.publish(overwrite=overwrite, advance=progress.advance)
            for names in plan.removed:
                staged.remove(names)
            late = (record for record in plan.directories if record.late)
            skipped = writer.skipped + set_attributes(walk, late, place, is_final=True)
            with disk_errors(place):
                os.fsync(target)
    return skipped


@contextmanager
def _target(place: Path, top: int | None) -> Iterator[int]:
    """Yield the target directory, which is created if missing, and removed again when nothing came into it."""
    if top is not None:
        yield top
        return
    with disk_errors(place):
        place.mkdir()
        sync_directory(place.parent)
    try:
        with staging.opened_directory(place) as created:
            if created is None:
                raise UsageError(f"{place} was removed by another process", hint="Run the same command again.")
            yield created
    except BaseException:
        with suppress(OSError):
            place.rmdir()  # fails when a file has its name already
        raise
