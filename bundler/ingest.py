"""Ingest: a newer model takes what it wants out of an older one, and becomes a new image on its own clean base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from bundler import base as bases
from bundler import naming
from bundler.apply import loaded
from bundler.errors import BundlerError, EngineError, ModelError, UsageError
from bundler.filecopy import Copied, Copier
from bundler.format import image
from bundler.format.content import Digest
from bundler.format.imagearchive import NewImage
from bundler.format.metadata import Ancestor, now
from bundler.ports import Container, Engine, Image, Model, Progress, RunOptions, Spool, Store
from bundler.transfer import Bundle


@dataclass(frozen=True)
class Old:
    """What files are taken from: a container that stands still, what it is, its labels, and the bundles that it came from."""

    container: Container
    source: str
    labels: Mapping[str, str]
    lineage: Sequence[Ancestor]


@dataclass(frozen=True)
class IngestResult:
    """The new image, and what became of every request of the model."""

    tag: str
    image_id: str
    config_digest: Digest
    copied: Sequence[Copied]
    previous: str
    """The name under which the image that had the tag before can be found."""


@contextmanager
def container(found: Container, engine: Engine, export: Callable[[], None]) -> Iterator[Old]:
    """An old container, held still for the length of the block if it runs; ``export`` has it write its memory to disk first."""
    source = engine.image(found.image_id)
    old = Old(found, f"container {found.id}", source.labels, image.lineage(source.labels, source.diff_ids))
    if not found.running or found.paused:
        yield old
        return
    export()
    with engine.paused(found):
        yield old


@contextmanager
def bundle(found: Bundle, store: Store, engine: Engine, spool: Spool, progress: Progress) -> Iterator[Old]:
    """An old bundle, applied to its base in an image and a container that are gone after the block."""
    metadata = found.metadata
    base = bases.find(metadata.base, engine, None)
    line = (Ancestor(digest=found.digest, created=metadata.created), *metadata.lineage)
    with loaded(found, store, base, engine, spool, progress) as applied, engine.created(applied) as created:
        yield Old(created, f"bundle {found.digest}", applied.labels, line)


def check_onto(onto: Image) -> None:
    """Raises `UsageError` for an image that is no clean base."""
    if image.is_ours(onto.labels):
        raise UsageError(
            f"{onto.names[0] if onto.names else onto.id} is no clean base: it holds a model's state already",
            hint="Name the image that its version was published as.",
        )


def ingest(
    old: AbstractContextManager[Old],
    onto: Image,
    tag: str,
    engine: Engine,
    connect: Callable[[Container], AbstractContextManager[Model]],
    options: RunOptions,
    progress: Progress,
    *,
    keep: bool,
) -> IngestResult:
    """Start the new model on ``onto``, do the copies that it asks for, and make what it has become an image.

    ``old`` is entered when the new model is up, so that an old container stands still only while it is read.
    Raises `ModelError` when the model fails its Ingest; then nothing is left, or with ``keep`` the container.
    """
    with _without_volumes(onto, engine, progress) as clean, engine.running(clean, options, keep=keep) as new:
        copied, taken = _served(old, new, engine, connect, progress, keep=keep)
        progress.stage("committing the new model's container")
        with engine.committed(new) as committed:
            config = image.build_ingested(
                bases.describe(onto), committed.diff_ids, taken.labels, taken.source, taken.lineage, now()
            )
            with engine.loaded(NewImage(config, committed.diff_ids, ()), committed, progress) as made:
                previous = naming.give(engine, made, tag)
    return IngestResult(tag, made.id, Digest.of(config), copied, previous)


def _served(
    old: AbstractContextManager[Old],
    new: Container,
    engine: Engine,
    connect: Callable[[Container], AbstractContextManager[Model]],
    progress: Progress,
    *,
    keep: bool,
) -> tuple[Sequence[Copied], Old]:
    """Serve the new model's Ingest; what it said last is told when it fails."""
    try:
        with connect(new) as model:
            progress.stage(f"waiting for the Migrator of {new.name}")
            model.connect()
            with old as taken:
                copier = Copier(taken.container, new, engine, progress)
                progress.stage("waiting for what the new model asks for")
                model.ingest(copier.copy)
            return copier.done, taken
    except BundlerError as error:
        if isinstance(error, ModelError):
            error.log = _last_words(new, engine)
        if keep:
            error.hint += f" The new container is kept: {new.name}"
        raise


def _last_words(new: Container, engine: Engine) -> str:
    try:
        return engine.logs(new)
    except EngineError:
        return ""


@contextmanager
def _without_volumes(onto: Image, engine: Engine, progress: Progress) -> Iterator[Image]:
    """The same image without declared volumes, as a commit leaves out what lies in one."""
    if not onto.config.get("Volumes"):
        yield onto
        return
    base = bases.describe(onto)
    plain = base.model_copy(update={"config": {key: value for key, value in base.config.items() if key != "Volumes"}})
    with engine.loaded(NewImage(image.clean_config(plain), onto.diff_ids, ()), onto, progress) as made:
        yield made
