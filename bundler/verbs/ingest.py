"""Ingest: a newer model takes what it wants out of an older one, and becomes a new image on its own clean base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass

from bundler.bundle import Bundle
from bundler.errors import BundlerError, ModelError, UsageError
from bundler.format import image
from bundler.format.content import Digest
from bundler.format.image_archive import NewImage
from bundler.format.metadata import Ancestor, now
from bundler.format.reference import LocalReference
from bundler.ports import Container, Engine, Image, Model, RunOptions, Spool, Store
from bundler.streams import Progress
from bundler.verbs import base_image as bases
from bundler.verbs import engine_limits, image_tags
from bundler.verbs import push as pushing
from bundler.verbs.apply import loaded
from bundler.verbs.container_copy import Copied, Copier

Connect = Callable[[Container], AbstractContextManager[Model]]
"""Gives the Migrator of a running container."""


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
def container(found: Container, engine: Engine, connect: Connect | None, progress: Progress) -> Iterator[Old]:
    """An old container, held still for the length of the block if it runs; with ``connect`` it writes its memory to disk first."""
    source = engine.image(found.image_id)
    old = Old(found, f"container {found.id}", source.labels, image.lineage(source.labels, source.diff_ids))
    if not found.running or found.paused:
        yield old
        return
    if connect:
        _write_memory(found, engine, connect, progress)
    with engine.paused(found):
        yield old


def _write_memory(old: Container, engine: Engine, connect: Connect, progress: Progress) -> None:
    """Have a model write its memory to disk, by the only call that it knows for that: its Export."""
    with ExitStack() as stack:
        try:
            model = stack.enter_context(connect(old))
            model.connect()
        except ModelError as error:
            progress.warn(f"{old.name} does not answer as a Migrator, its files are taken as they are: {error.message}")
            return
        progress.stage(f"asking {old.name} to write its memory to disk")
        with _last_words(old, engine, "With --no-export its files are taken as they are."):
            model.export()


def bundle(
    found: Bundle, store: Store, engine: Engine, spool: Spool, progress: Progress, *, allow_privileged: bool = False
) -> AbstractContextManager[Old]:
    """An old bundle, applied to its base in an image and a container that are gone after the block.

    Raises `BaseMismatchError` at once when the base is not here. ``allow_privileged`` is that of `apply.apply`.
    """
    base = bases.find(found.metadata.base, engine, None)
    return _applied(found, loaded(found, store, base, engine, spool, progress, allow_privileged=allow_privileged), engine)


@contextmanager
def _applied(found: Bundle, loading: AbstractContextManager[Image], engine: Engine) -> Iterator[Old]:
    line = (Ancestor(digest=found.digest, created=found.metadata.created), *found.metadata.lineage)
    with loading as applied, engine.created(applied) as created:
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
    connect: Connect,
    options: RunOptions,
    progress: Progress,
    *,
    keep: bool,
    marks: Mapping[str, str] = image.NO_MARKS,
) -> IngestResult:
    """Start the new model on ``onto``, do the copies that it asks for, and make what it has become an image.

    ``old`` is entered when the new model is up, so that an old container stands still only while it is read.
    Raises `ModelError` when the model fails its Ingest; then nothing is left, or with ``keep`` the container.
    ``marks`` are labels of the new image.
    """
    engine_limits.check_image(len(onto.diff_ids), 1, engine.info())
    with _without_volumes(onto, engine, progress) as clean, engine.running(clean, options, keep=keep) as new:
        with _last_words(new, engine, "" if keep else "With --keep its container is left for a look."):
            copied, taken = _served(old, new, engine, connect, progress)
        progress.stage("committing the new model's container")
        with engine.committed(new) as committed:
            config = image.build_ingested(
                bases.describe(onto), committed.diff_ids, taken.labels, taken.source, taken.lineage, now(), marks
            )
            with engine.loaded(NewImage(config, committed.diff_ids, ()), committed, progress) as made:
                previous = image_tags.give(engine, made, tag)
    return IngestResult(tag, made.id, Digest.of(config), copied, previous)


def push(
    made: IngestResult,
    target: Store | LocalReference,
    engine: Engine,
    connect: Connect,
    options: RunOptions,
    spool: Spool,
    progress: Progress,
    seal: pushing.Seal | None = None,
) -> pushing.PushResult:
    """Run the new image, and push what the model in it exports; the image stands, whatever becomes of that."""
    try:
        with (
            engine.running(engine.image(made.image_id), options, keep=False) as new,
            _last_words(new, engine, ""),
            connect(new) as model,
        ):
            return pushing.push(new, engine, model, spool, target, progress, pushing.Options(), seal)
    except BundlerError as error:
        error.message = f"{made.tag} is made, and can be run and pushed later; to push it now failed: {error.message}"
        raise


def _served(
    old: AbstractContextManager[Old], new: Container, engine: Engine, connect: Connect, progress: Progress
) -> tuple[Sequence[Copied], Old]:
    """Serve the new model's Ingest."""
    with connect(new) as model:
        progress.stage(f"waiting for the Migrator of {new.name}")
        model.connect()
        with old as taken:
            copier = Copier(taken.container, new, engine, progress)
            progress.stage("waiting for what the new model asks for")
            model.ingest(copier.copy)
        return copier.done, taken


@contextmanager
def _last_words(of: Container, engine: Engine, advice: str) -> Iterator[None]:
    """Have a `ModelError` of the block say what the container wrote last, and whether it runs, unless it tells of another one."""
    try:
        yield
    except ModelError as error:
        if error.log is None:
            error.log = ""
            with suppress(BundlerError):
                error.log = engine.logs(of)
                if not engine.container(of.id).running:
                    error.hint = f"{of.name} has ended by itself."
            error.hint = f"{error.hint} {advice}".strip()
        raise


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
