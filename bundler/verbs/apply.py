"""Apply: make a new image from a bundle and its base image, with the same content as the model that was pushed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bundler.bundle import Bundle, read_bundle
from bundler.errors import EngineError
from bundler.format import image, launch, reference, units
from bundler.format.content import Digest
from bundler.format.image_archive import NewImage, NewLayer
from bundler.format.metadata import Base
from bundler.localfs.atomic_file import check_space
from bundler.ports import Engine, Image, Spool, Store
from bundler.streams import Progress
from bundler.trust.admission import Admission, Admitted
from bundler.verbs import base_image, engine_limits, image_tags, privileges, verify

_TIMES_ON_DISK = {"classic": 2, "podman": 1}
"""How many copies of a new layer are on an engine's disk while it is loaded, by image store.

Docker's classic store first writes the whole archive below its root, then unpacks it (measured with 20.10.24: 1 GiB of layers
took another 1.07 GB there). Docker does not tell where containerd keeps its content.
"""

TAG_WAIT = 60
"""Seconds to wait for another process that tags the same image."""


@dataclass(frozen=True)
class ApplyOptions:
    """What the caller chooses: base image, tag and exceptions; the defaults are the strictest."""

    base: str | None = None
    """The clean base image; by default it is found by its layers."""
    same_version: bool = False
    """Also accept a base with the same title, version and vendor but other layers."""
    tag: str | None = None
    """``NAME:TAG`` of the new image; by default the base's repository, the version and the digest."""
    force: bool = False
    """Move ``tag`` also when it names an image that fps-bundle did not make."""
    allow_privileged: bool = False
    """Accept files with more rights and changed launch settings without a trusted signature."""
    dry_run: bool = False


@dataclass(frozen=True)
class ApplyResult:
    """The new image; after a dry run it has no ``image_id``."""

    bundle: Bundle
    base: Image
    tag: str
    config_digest: Digest
    image_id: str
    existed: bool
    previous: str = ""
    """The name of the image that had the tag before."""
    changes: Sequence[launch.Change] = ()
    """The launch settings in which the new image differs from the base."""
    new_signers: Sequence[str] = ()
    """The trusted signers without a rollback record, for whom a downgrade could not be detected."""


def apply(
    source: Store,
    engine: Engine,
    spool: Spool,
    progress: Progress,
    *,
    admission: Admission,
    options: ApplyOptions | None = None,
) -> ApplyResult:
    """Turn the bundle of ``source`` and its base image into a new image, as far as ``admission`` accepts it.

    Everything is fetched and verified before the engine is changed. Raises `TrustError` for an untrusted or older bundle,
    `BaseMismatchError` without the right base, and what `apply_admitted` raises.
    """
    options = options or ApplyOptions()
    admitted = admission.admit(read_bundle(source), source, progress)
    recorded, on = admitted.bundle.metadata.base, None
    if options.same_version:
        base, on = base_image.find_version(admitted.bundle.metadata.model, recorded, engine, options.base)
    else:
        base = base_image.find(recorded, engine, options.base)
    if on:
        warn_untested(base.id, progress)
    return apply_admitted(
        admitted,
        source,
        base,
        choose_tag(options.tag, admitted.bundle, base, engine, force=options.force),
        engine,
        spool,
        progress,
        dry_run=options.dry_run,
        on=on,
        allow_privileged=options.allow_privileged,
    )


def apply_admitted(
    admitted: Admitted,
    source: Store,
    base: Image,
    tag: str,
    engine: Engine,
    spool: Spool,
    progress: Progress,
    *,
    dry_run: bool = False,
    on: Base | None = None,
    allow_privileged: bool = False,
) -> ApplyResult:
    """Fetch and verify every layer of an admitted bundle, then load the new image and tag it.

    ``on`` describes ``base`` when it is not the recorded base. Privileged files and changed launch settings need a trusted
    signature or ``allow_privileged``. Before the engine is changed, raises `TrustError` for an older bundle,
    `IntegrityError` when any content is not as described, and `PrivilegeError`. Before anything is fetched, raises
    `EngineError` when the engine cannot run an image of so many layers.
    """
    bundle, allowed = admitted.bundle, allow_privileged or admitted.trusted
    rollback = admitted.rollback_check(image_tags.repository(tag))
    new_signers = rollback.check_with_warning(tag, progress)
    changes = launch.changes(base.config, image.restored(bundle.metadata, on))
    privileges.check_settings(changes, progress, allowed=allowed)
    with _checked(bundle, source, base, engine, spool, progress, allow_privileged=allowed) as (readable, local):
        new = _new_image(readable, local, base, on, admitted.by.labels)
        result = ApplyResult(bundle, base, tag, new.config_digest, "", False, changes=changes, new_signers=new_signers)
        if dry_run:
            return replace(result, existed=engine.holding(new) is not None)
        with _made(bundle, new, base, engine, progress) as (made, existed), image_tags.locked(tag, TAG_WAIT), rollback.recorded():
            previous = image_tags.give(engine, made, tag)
        return replace(result, image_id=made.id, existed=existed, previous=previous)


def warn_untested(base: str, progress: Progress) -> None:
    """Warn about a base that only has the version of the recorded one."""
    progress.warn(f"{base} is not the recorded base, it only has the same version: this combination was not tested")


@contextmanager
def _checked(
    bundle: Bundle, source: Store, base: Image, engine: Engine, spool: Spool, progress: Progress, *, allow_privileged: bool
) -> Iterator[tuple[Bundle, Store]]:
    """Yield the bundle and a store with its layers after all checks that need no new image; raises what `apply_admitted` raises."""
    engine_limits.check_image(len(base.diff_ids), len(bundle.metadata.layers), engine.info())
    with verify.readable_layers(bundle, source, spool, progress) as (readable, local):
        findings = verify.once(readable, local, spool, progress)
        check_kept(findings)
        in_base = partial(privileges.files_on_engine, base, engine)
        privileges.check(findings.privileged, in_base, progress, allowed=allow_privileged)
        yield readable, local


@contextmanager
def _made(bundle: Bundle, new: NewImage, base: Image, engine: Engine, progress: Progress) -> Iterator[tuple[Image, bool]]:
    """Yield the new image, and whether the engine had it already; if not, it is removed after the block unless it was tagged."""
    existing = engine.holding(new)
    if existing:
        yield existing, True
        return
    _check_space(bundle, engine)
    progress.stage(f"loading the new layers into {engine.info().name}", bundle.metadata.size)
    with engine.loaded(new, base, progress) as made:
        yield made, False


@contextmanager
def loaded(
    admitted: Admitted,
    source: Store,
    base: Image,
    engine: Engine,
    spool: Spool,
    progress: Progress,
    *,
    allow_privileged: bool = False,
) -> Iterator[Image]:
    """Yield an admitted bundle on its base as an untagged image, removed after the block unless the engine had it already.

    Raises what `apply_admitted` raises, except for an older bundle.
    """
    bundle, allowed = admitted.bundle, allow_privileged or admitted.trusted
    with _checked(bundle, source, base, engine, spool, progress, allow_privileged=allowed) as (readable, local):
        new = _new_image(readable, local, base, None, image.NO_MARKS)
        with _made(bundle, new, base, engine, progress) as (made, _):
            yield made


def check_kept(findings: verify.Findings) -> None:
    """Raise `EngineError` for a bundle whose entries an engine would change without an error."""
    if findings.unkept:
        entries = units.counted(findings.unkept, "entry", "entries")
        raise EngineError(
            f"an engine would not keep {entries} of the bundle unchanged: {findings.first_unkept}",
            hint="Correct the files in the model, and push again with this version of fps-bundle, which refuses such files.",
        )


def _check_space(bundle: Bundle, engine: Engine) -> None:
    """Raise `NoSpaceError` when the new layers do not fit on the engine's disk; checked only when that disk is on this host."""
    info = engine.info()
    if info.root:
        check_space(Path(info.root), bundle.metadata.size * _TIMES_ON_DISK.get(info.image_store, 0))


def choose_tag(wanted: str | None, bundle: Bundle, base: Image, engine: Engine, *, force: bool) -> str:
    """Return the tag of the new image; raises `UsageError` for one that is invalid, or names an image of another tool."""
    return image_tags.check(wanted, engine, force=force) if wanted is not None else _default_tag(bundle, base)


def _default_tag(bundle: Bundle, base: Image) -> str:
    model = bundle.metadata.model
    names = base.names or bundle.metadata.base.names or (reference.image_name(model.title),)
    repository = _repository(names[0])
    version = reference.image_tag(model.version)[:100]
    return f"{repository}:{version}-{bundle.digest.short}"


def _repository(name: str) -> str:
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def _new_image(bundle: Bundle, source: Store, base: Image, on: Base | None, marks: Mapping[str, str]) -> NewImage:
    layers = tuple(
        NewLayer(descriptor, described, partial(source.open, descriptor))
        for descriptor, described in zip(bundle.manifest.layers, bundle.metadata.layers, strict=True)
    )
    return NewImage(image.build_config(bundle.metadata, bundle.digest, on, marks), base.diff_ids, layers)
