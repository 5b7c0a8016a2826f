"""Base image: find the clean base of a container that is pushed, and of a bundle that is applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bundler.errors import BaseMismatchError, Mismatch
from bundler.format import artifact, compatibility, image, reference
from bundler.format.content import Digest
from bundler.format.image_archive import NewImage
from bundler.format.metadata import Base, Model, Platform
from bundler.ports import Container, Engine, Image
from bundler.streams import Progress


def of_container(container: Container, source: Image, given: str | None, engine: Engine, progress: Progress) -> Base:
    """Return the clean base of a container: the given one, the one in our labels on its image, or that image itself.

    Raises `BaseMismatchError` when the container's image was not built on the given one.
    """
    if given:
        return _given(container, source, engine.image(given), given)
    if image.is_state_only(source.labels):
        raise BaseMismatchError(
            f"the image of {container.name} has the state of a bundle alone, without its base",
            hint="Push from a container of the whole image, made without --state-only.",
        )
    clean = image.clean_layers(source.labels, source.diff_ids)
    if clean is None:
        if any(label.startswith(image.LABEL_PREFIX) for label in source.labels):
            progress.warn(
                f"the {image.LABEL_PREFIX}* labels on the image of {container.name} describe other layers; "
                "it was built on an applied image, and is used as a clean base itself"
            )
        clean = len(source.diff_ids)
    diff_ids = source.diff_ids[:clean]
    recorded = source.labels.get(image.LABEL_BASE_NAME)
    names = (recorded,) if recorded else ()
    base = source if clean == len(source.diff_ids) else image_with(engine, diff_ids, source.platform, names)
    if base:
        return describe(base)
    return Base(
        names=names,
        repo_digests=(),
        image_id="",
        platform=source.platform,
        diff_ids=diff_ids,
        chain_id=image.chain_id(diff_ids),
        config=image.settings(source.config),
    )


@contextmanager
def materialized_base(clean: Base, source: Image, engine: Engine, progress: Progress) -> Iterator[Image]:
    """Yield the base that `of_container` found as an image; rebuild a missing one from the leading layers of ``source``."""
    if clean.image_id:
        yield engine.image(clean.image_id)
        return
    progress.stage("rebuilding the clean base from the image's leading layers")
    with engine.loaded(NewImage(image.clean_config(clean), tuple(clean.diff_ids), ()), source, progress) as rebuilt:
        yield rebuilt


def find(recorded: Base, engine: Engine, given: str | None) -> Image:
    """Return the local image that is the base of a bundle: the given one, else the one with the recorded diff IDs.

    Raises `BaseMismatchError` when the given image is not the base, or no local image is,
    and `NotFoundError` when the given one does not exist.
    """
    if given:
        found = engine.image(given)
        if mismatches := compatibility.check(recorded, found.platform, found.diff_ids):
            raise not_the_base(given, recorded, mismatches)
        return found
    if fitting := image_with(engine, recorded.diff_ids, recorded.platform, recorded.names):
        return fitting
    names, nearest = shown_names(recorded), _nearest(recorded, engine)
    hint = f"Load {names} first (docker load or docker pull), then run the command again."
    if nearest:
        hint += f" The most similar image here is {nearest.names[0] if nearest.names else nearest.id}."
    raise BaseMismatchError(
        f"no local image is the base of this bundle, {names}",
        mismatches=compatibility.check(recorded, nearest.platform, nearest.diff_ids) if nearest else (),
        hint=hint,
    )


def shown_names(recorded: Base) -> str:
    """Return the recorded names of a base for messages."""
    return " or ".join(recorded.names) or f"the image {recorded.image_id}"


def not_the_base(given: str, recorded: Base, mismatches: Sequence[Mismatch]) -> BaseMismatchError:
    """Return the error for a given image that is not the recorded base."""
    hint = f"Omit --base to search for the base image; the bundle was made on {shown_names(recorded)}."
    return BaseMismatchError(f"{given} is not the base of this bundle", mismatches=mismatches, hint=hint)


def find_version(model: Model, recorded: Base, engine: Engine, given: str | None) -> tuple[Image, Base | None]:
    """Return the base with the recorded layers, else an image with the same title, version and vendor, and its description.

    Raises `BaseMismatchError` when the labels of the given image, or of all local images, differ.
    """
    candidates = [engine.image(given)] if given else list(engine.images())
    for candidate in candidates:
        if not compatibility.check(recorded, candidate.platform, candidate.diff_ids):
            return candidate, None
    same = [candidate for candidate in candidates if is_version(model, candidate.labels)]
    if not same:
        raise no_version(model, given or "", "no local image")
    chosen = min(same, key=lambda candidate: candidate.names)
    return chosen, version_base(model, chosen.platform, chosen.diff_ids, chosen.config)


def version_base(model: Model, platform: Platform, diff_ids: Sequence[Digest], config: Mapping[str, Any]) -> Base:
    """Describe an image with the labels of a model's base as the base of a new image, the same wherever the image was found."""
    return Base(
        names=(f"{reference.image_name(model.title)}:{reference.image_tag(model.version)}",),
        repo_digests=(),
        image_id="",
        platform=platform,
        diff_ids=tuple(diff_ids),
        chain_id=image.chain_id(diff_ids),
        config=image.settings(config),
    )


def image_with(engine: Engine, diff_ids: Sequence[Digest], platform: Platform, names: Sequence[str]) -> Image | None:
    """Return an image with exactly these layers: prefer a clean one to one of ours, then one with one of these names."""
    matching = [
        candidate for candidate in engine.images() if candidate.diff_ids == tuple(diff_ids) and candidate.platform == platform
    ]
    return min(
        matching,
        key=lambda candidate: (image.is_ours(candidate.labels), not set(names) & set(candidate.names), candidate.names),
        default=None,
    )


def no_version(model: Model, given: str, nothing: str) -> BaseMismatchError:
    """The error for a ``given`` base with other labels, or for ``nothing`` found that has them."""
    wanted = " ".join(part for part in (model.title, model.version, model.vendor) if part)
    return BaseMismatchError(
        f"{given or nothing} is {'not ' if given else ''}labelled as {wanted}", hint="Load the base of that version first."
    )


def is_version(model: Model, labels: Mapping[str, str]) -> bool:
    """Whether the labels of an image are those of a model's base."""
    labelled = (labels.get(artifact.TITLE), labels.get(artifact.VERSION), labels.get(artifact.VENDOR) or None)
    return labelled == (model.title, model.version, model.vendor) and not image.is_ours(labels)


def _given(container: Container, source: Image, wanted: Image, name: str) -> Base:
    if wanted.platform != source.platform or source.diff_ids[: len(wanted.diff_ids)] != wanted.diff_ids:
        described = describe(wanted)
        raise BaseMismatchError(
            f"{name} is not the base of {container.name}: its image was not built on it",
            mismatches=compatibility.check(described, source.platform, source.diff_ids[: len(wanted.diff_ids)]),
            hint="Omit --base to use the image that the container was started from.",
        )
    return describe(wanted)


def describe(clean: Image) -> Base:
    """Return the description of an image as a clean base."""
    return Base(
        names=clean.names,
        repo_digests=clean.repo_digests,
        image_id=clean.id,
        platform=clean.platform,
        diff_ids=clean.diff_ids,
        chain_id=image.chain_id(clean.diff_ids),
        config=image.settings(clean.config),
    )


def _nearest(recorded: Base, engine: Engine) -> Image | None:
    """Return the image most similar to a base: with a recorded name, else with the most common leading layers."""

    def likeness(candidate: Image) -> tuple[bool, int]:
        pairs = zip(recorded.diff_ids, candidate.diff_ids, strict=False)
        differing = (number for number, (one, other) in enumerate(pairs) if one != other)
        common = next(differing, min(len(recorded.diff_ids), len(candidate.diff_ids)))
        return bool(set(candidate.names) & set(recorded.names)), common

    nearest = max(engine.images(), key=likeness, default=None)
    return nearest if nearest and any(likeness(nearest)) else None
