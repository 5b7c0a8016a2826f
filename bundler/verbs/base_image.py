"""Base image: find the clean base of a container that is pushed, and of a bundle that is applied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bundler.errors import BaseMismatchError
from bundler.format import artifact, compatibility, image
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
    names = " or ".join(recorded.names) or f"the image {recorded.image_id}"
    if given:
        found = engine.image(given)
        if mismatches := compatibility.check(recorded, found.platform, found.diff_ids):
            hint = f"Omit --base to search for the base image; the bundle was made on {names}."
            raise BaseMismatchError(f"{given} is not the base of this bundle", mismatches=mismatches, hint=hint)
        return found
    if fitting := image_with(engine, recorded.diff_ids, recorded.platform, recorded.names):
        return fitting
    nearest = _nearest(recorded, engine)
    hint = f"Load {names} first (docker load or docker pull), then run the command again."
    if nearest:
        hint += f" The most similar image here is {nearest.names[0] if nearest.names else nearest.id}."
    raise BaseMismatchError(
        f"no local image is the base of this bundle, {names}",
        mismatches=compatibility.check(recorded, nearest.platform, nearest.diff_ids) if nearest else (),
        hint=hint,
    )


def find_version(model: Model, recorded: Base, engine: Engine, given: str | None) -> tuple[Image, Base | None]:
    """Return the base with the recorded layers, else an image with the same title, version and vendor, and its description.

    Raises `BaseMismatchError` when the labels of the given image, or of all local images, differ.
    """
    candidates = [engine.image(given)] if given else list(engine.images())
    for candidate in candidates:
        if not compatibility.check(recorded, candidate.platform, candidate.diff_ids):
            return candidate, None
    same = [candidate for candidate in candidates if _is_version(model, candidate)]
    if not same:
        wanted = " ".join(part for part in (model.title, model.version, model.vendor) if part)
        raise BaseMismatchError(
            f"{given or 'no local image'} is {'not ' if given else ''}labelled as {wanted}",
            hint="Load the base of that version first.",
        )
    chosen = min(same, key=lambda candidate: candidate.names)
    return chosen, describe(chosen)


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


def _is_version(model: Model, candidate: Image) -> bool:
    labels = candidate.labels
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
