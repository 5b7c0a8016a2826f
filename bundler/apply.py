"""Apply: from a bundle and its base image to a new image, identical in content to the model that was pushed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from bundler import transfer
from bundler.errors import NotFoundError, UsageError
from bundler.format import image, layer, paths, reference
from bundler.format.content import Digest
from bundler.format.imagearchive import NewImage, NewLayer
from bundler.format.metadata import Base
from bundler.ports import Engine, Image, Progress, Spool, Store
from bundler.transfer import Bundle


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
) -> ApplyResult:
    """Fetch and verify every layer, then make the new image and give it its name.

    ``on`` describes ``base`` when it is another one than was recorded. Raises `IntegrityError` before the
    engine is touched when anything in the bundle is not as promised.
    """
    with _at_hand(bundle, source, spool, progress) as local:
        return _apply(bundle, local, base, tag, engine, progress, dry_run=dry_run, on=on)


def _apply(
    bundle: Bundle, source: Store, base: Image, tag: str, engine: Engine, progress: Progress, *, dry_run: bool, on: Base | None
) -> ApplyResult:
    verify(bundle, source, progress)
    new = _new_image(bundle, source, base, on)
    existing = _existing(engine, new)
    if dry_run:
        return ApplyResult(bundle, base, tag, new.config_digest, "", existing is not None)
    if existing:
        previous = _name(engine, existing, tag)
        return ApplyResult(bundle, base, tag, new.config_digest, existing.id, True, previous)
    progress.stage(f"loading the new layers into {engine.info().name}", bundle.metadata.size)
    loaded = engine.load(new, base, progress)
    try:
        previous = _name(engine, loaded, tag)
    finally:
        engine.release(loaded)
    return ApplyResult(bundle, base, tag, new.config_digest, loaded.id, False, previous)


def undo(tag: str, engine: Engine) -> Image:
    """Swap a tag with the image that it named before the last apply; gives the image that it names now.

    Raises `NotFoundError` when there is none.
    """
    current, previous = engine.image(tag), engine.image(_previous(tag))
    engine.tag(previous, tag)
    engine.tag(current, _previous(tag))
    return previous


def _name(engine: Engine, new: Image, tag: str) -> str:
    """Give the new image its name; what had it stays reachable under the name that is returned."""
    kept = ""
    try:
        holder = engine.image(tag)
        if holder.id != new.id:
            kept = _previous(tag)
            engine.tag(holder, kept)
    except NotFoundError:
        pass  # the name is free
    engine.tag(new, tag)
    return kept


def _previous(tag: str) -> str:
    return f"{tag}-previous"


def verify(bundle: Bundle, source: Store, progress: Progress) -> None:
    """Read every layer of a bundle to its end; raises `IntegrityError` for the first that is not what it should be."""
    progress.stage("verifying the bundle", sum(descriptor.size for descriptor in bundle.manifest.layers))
    removed = frozenset(paths.decode(path) for path in bundle.metadata.removed)
    privileged = frozenset(paths.decode(path) for path in bundle.metadata.privileged)
    last = len(bundle.manifest.layers) - 1
    for number, (descriptor, described) in enumerate(zip(bundle.manifest.layers, bundle.metadata.layers, strict=True)):
        with source.open(descriptor) as blob:
            whiteouts = removed if number == last else frozenset[str]()
            layer.verify(transfer.watched(blob, progress), described, whiteouts, source.where, privileged)


@contextmanager
def _at_hand(bundle: Bundle, source: Store, spool: Spool, progress: Progress) -> Iterator[Store]:
    """The bundle in a store that can be read twice: where it is, or in the local store for as long as it is needed.

    When the block fails, what was fetched stays there, and is not fetched again by the next run.
    """
    if source.rereadable:
        yield source
        return
    fetched = reference.LocalReference(reference.image_name(bundle.metadata.model.title), digest=bundle.digest)
    local = spool.open(fetched)
    transfer.copy(source, local, progress, bundle)
    yield local
    spool.forget(fetched)


def choose_tag(wanted: str | None, bundle: Bundle, base: Image, engine: Engine, *, force: bool) -> str:
    """The name of the new image; raises `UsageError` for one that is no tag, or names an image that we did not make."""
    if wanted is None:
        return _default_tag(bundle, base)
    parsed = reference.parse(wanted)
    if not isinstance(parsed, reference.LocalReference | reference.RegistryReference) or parsed.digest:
        raise UsageError(f"{wanted!r} is no name for an image", hint="Write NAME:TAG.")
    tag = str(parsed)
    try:
        holder = engine.image(tag)
    except NotFoundError:
        return tag
    if image.LABEL_DIGEST not in holder.labels and not force:
        raise UsageError(
            f"{tag} names an image that fps-bundle did not make",
            hint="Choose another --tag, or take the name away from it with --force.",
        )
    return tag


def _default_tag(bundle: Bundle, base: Image) -> str:
    model = bundle.metadata.model
    names = base.names or bundle.metadata.base.names or (reference.image_name(model.title),)
    repository = _repository(names[0])
    version = reference.image_tag(model.version)[:100]
    return f"{repository}:{version}-{bundle.digest.short}"


def _repository(name: str) -> str:
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def _existing(engine: Engine, new: NewImage) -> Image | None:
    """The new image, when the engine holds it already; its ID is its content."""
    try:
        found = engine.image(str(new.config_digest))
    except NotFoundError:
        return None
    return found if found.diff_ids == new.diff_ids else None


def _new_image(bundle: Bundle, source: Store, base: Image, on: Base | None) -> NewImage:
    layers = tuple(
        NewLayer(descriptor, described, partial(source.open, descriptor))
        for descriptor, described in zip(bundle.manifest.layers, bundle.metadata.layers, strict=True)
    )
    return NewImage(image.build_config(bundle.metadata, bundle.digest, on), base.diff_ids, layers)
