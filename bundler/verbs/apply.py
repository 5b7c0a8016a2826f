"""Apply: from a bundle and its base image to a new image, identical in content to the model that was pushed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bundler.bundle import Bundle
from bundler.errors import EngineError
from bundler.format import image, launch, reference, units
from bundler.format.content import Digest
from bundler.format.image_archive import NewImage, NewLayer
from bundler.format.metadata import Base
from bundler.localfs.atomic_file import check_space
from bundler.ports import Engine, Image, Spool, Store
from bundler.streams import Progress
from bundler.verbs import engine_limits, image_tags, privileges, verify

_TIMES_ON_DISK = {"classic": 2, "podman": 1}
"""How often a new layer lies on an engine's disk while it is loaded, by image store.

Docker's classic store first writes all of the archive below its root, then unpacks it (measured with 20.10.24: 1 GiB of layers
took another 1.07 GB there). Where containerd keeps its content, Docker does not say.
"""


@dataclass(frozen=True)
class ApplyResult:
    """The new image; without an ``image_id`` nothing was done, because it was a dry run."""

    bundle: Bundle
    base: Image
    tag: str
    config_digest: Digest
    image_id: str
    existed: bool
    previous: str = ""
    """The name under which the image that had the tag before can be found."""
    changes: Sequence[launch.Change] = ()
    """The launch settings of the new image that are not those of the base."""


def apply(
    bundle: Bundle,
    source: Store,
    base: Image,
    tag: str,
    engine: Engine,
    spool: Spool,
    progress: Progress,
    *,
    dry_run: bool,
    on: Base | None = None,
    marks: Mapping[str, str] = image.NO_MARKS,
    noted: Callable[[], AbstractContextManager[None]] = nullcontext,
    allow_privileged: bool = False,
) -> ApplyResult:
    """Fetch and verify every layer, then make the new image and give it its name.

    ``on`` describes ``base`` when it is another one than was recorded; ``marks`` are labels of the new image. It gets its
    name in a block of ``noted``, which may still refuse it. ``allow_privileged`` takes files that give more rights than the base's
    and launch settings that differ from the base's; callers set it for a trusted signature or on the user's word.
    Raises `IntegrityError` before the engine is touched when anything in the bundle is not as promised, and `PrivilegeError`
    for such files and settings. Raises `EngineError` before anything is fetched when the engine cannot run an image of so
    many layers.
    """
    changes = launch.changes(base.config, image.restored(bundle.metadata, on))
    privileges.check_settings(changes, progress, allowed=allow_privileged)
    with _checked(bundle, source, base, engine, spool, progress, allow_privileged=allow_privileged) as local:
        new = _new_image(bundle, local, base, on, marks)
        if dry_run:
            return ApplyResult(bundle, base, tag, new.config_digest, "", engine.holding(new) is not None, changes=changes)
        with _made(bundle, new, base, engine, progress) as (made, existed), noted():
            previous = image_tags.give(engine, made, tag)
        return ApplyResult(bundle, base, tag, new.config_digest, made.id, existed, previous, changes)


@contextmanager
def _checked(
    bundle: Bundle, source: Store, base: Image, engine: Engine, spool: Spool, progress: Progress, *, allow_privileged: bool
) -> Iterator[Store]:
    """The bundle in a store, after all checks that need no new image; it raises what `apply` raises."""
    engine_limits.check_image(len(base.diff_ids), len(bundle.metadata.layers), engine.info())
    with verify.readable_bundle(bundle, source, spool, progress) as local:
        findings = verify.once(bundle, local, spool, progress)
        _check_kept(findings)
        privileges.check(findings.privileged, base, engine, progress, allowed=allow_privileged)
        yield local


@contextmanager
def _made(bundle: Bundle, new: NewImage, base: Image, engine: Engine, progress: Progress) -> Iterator[tuple[Image, bool]]:
    """The new image, and whether it was here already; if not, it is gone after the block unless it got a name."""
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
    bundle: Bundle,
    source: Store,
    base: Image,
    engine: Engine,
    spool: Spool,
    progress: Progress,
    *,
    allow_privileged: bool = False,
) -> Iterator[Image]:
    """A bundle on its base as an image without a name, which is gone after the block unless it was here already.

    It raises what `apply` raises.
    """
    with _checked(bundle, source, base, engine, spool, progress, allow_privileged=allow_privileged) as local:
        new = _new_image(bundle, local, base, None, image.NO_MARKS)
        with _made(bundle, new, base, engine, progress) as (made, _):
            yield made


def _check_kept(findings: verify.Findings) -> None:
    """Raise `EngineError` for a bundle of which an engine would make something else without an error."""
    if findings.unkept:
        entries = units.counted(findings.unkept, "entry", "entries")
        raise EngineError(
            f"an engine would not keep {entries} of the bundle unchanged: {findings.first_unkept}",
            hint="Correct the files in the model, and push again with this version of fps-bundle, which refuses such files.",
        )


def _check_space(bundle: Bundle, engine: Engine) -> None:
    """Raises `NoSpaceError` when the new layers cannot fit on the engine's disk, as far as that is a disk of this host."""
    info = engine.info()
    if info.root:
        check_space(Path(info.root), bundle.metadata.size * _TIMES_ON_DISK.get(info.image_store, 0))


def choose_tag(wanted: str | None, bundle: Bundle, base: Image, engine: Engine, *, force: bool) -> str:
    """The name of the new image; raises `UsageError` for one that is no tag, or names an image that we did not make."""
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
