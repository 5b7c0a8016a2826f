"""Ingest: a newer model copies files out of an older one, and becomes a new image on its own clean base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from bundler.bundle import Bundle, read_bundle
from bundler.errors import BundlerError, ModelError, UsageError
from bundler.format import image
from bundler.format.content import Digest
from bundler.format.image_archive import NewImage
from bundler.format.metadata import Ancestor, now
from bundler.format.reference import LocalReference
from bundler.localfs import state_directory
from bundler.ports import Container, Engine, Image, Model, RunOptions, Spool, Store
from bundler.streams import Progress
from bundler.trust.admission import Admission, Admitted
from bundler.verbs import base_image as bases
from bundler.verbs import engine_limits, image_tags
from bundler.verbs import push as pushing
from bundler.verbs.apply import loaded
from bundler.verbs.container_copy import Copied, Copier
from bundler.verbs.push_destination import RemoteTarget, Seal

Connect = Callable[[Container], AbstractContextManager[Model]]
"""Connects to the Migrator of a running container."""


@dataclass(frozen=True)
class OldContainer:
    """A container as the older model; with ``connect`` a running one is asked to write its memory to disk first."""

    container: Container
    connect: Connect | None = None


@dataclass(frozen=True)
class OldBundle:
    """The bundle of a store as the older model, as far as ``admission`` accepts it.

    Privileged files and changed launch settings need a trusted signature or ``allow_privileged``.
    """

    store: Store
    admission: Admission
    allow_privileged: bool = False


@dataclass(frozen=True)
class IngestOptions:
    """How the new model is run, and what becomes of its container and its tag."""

    run: RunOptions = field(default_factory=RunOptions)
    keep: bool = False
    """Keep the container of the new model when its Ingest fails."""
    force: bool = False
    """Move the tag also when it names an image that fps-bundle did not make."""


@dataclass(frozen=True)
class Old:
    """The container that files are read from, which does not change; with its description, labels and lineage."""

    container: Container
    source: str
    labels: Mapping[str, str]
    lineage: Sequence[Ancestor]


@dataclass(frozen=True)
class IngestResult:
    """The new image, and the outcome of every copy that the model requested."""

    tag: str
    image_id: str
    config_digest: Digest
    copied: Sequence[Copied]
    previous: str
    """The name of the image that had the tag before."""


@contextmanager
def container(found: Container, engine: Engine, connect: Connect | None, progress: Progress) -> Iterator[Old]:
    """Yield an old container, paused during the block if it runs; with ``connect`` it writes its memory to disk first."""
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
    """Let a model write its memory to disk by calling Export; a container without a Migrator is read as it is."""
    with ExitStack() as stack:
        try:
            model = stack.enter_context(connect(old))
            model.connect()
        except ModelError as error:
            progress.warn(f"{old.name} does not answer as a Migrator, its files are copied as they are: {error.message}")
            return
        progress.stage(f"asking {old.name} to write its memory to disk")
        with _with_log(old, engine, "Use --no-export to copy its files as they are."):
            model.export()


def bundle(
    admitted: Admitted, store: Store, engine: Engine, spool: Spool, progress: Progress, *, allow_privileged: bool = False
) -> AbstractContextManager[Old]:
    """Apply an old bundle to its base, in an image and a container that are removed after the block.

    Raises `BaseMismatchError` at once without the right base. ``allow_privileged`` is that of `apply.loaded`.
    """
    base = bases.find(admitted.bundle.metadata.base, engine, None)
    loading = loaded(admitted, store, base, engine, spool, progress, allow_privileged=allow_privileged)
    return _applied(admitted.bundle, loading, engine)


@contextmanager
def _applied(old: Bundle, loading: AbstractContextManager[Image], engine: Engine) -> Iterator[Old]:
    lineage = (Ancestor(digest=old.digest, created=old.metadata.created), *old.metadata.lineage)
    with loading as applied, engine.created(applied) as created:
        yield Old(created, f"bundle {old.digest}", applied.labels, lineage)


def check_onto(onto: Image) -> None:
    """Raise `UsageError` for an image that is not a clean base."""
    if image.is_ours(onto.labels):
        raise UsageError(
            f"{onto.names[0] if onto.names else onto.id} is not a clean base: it contains the state of a model",
            hint="Name the image that this version was published as.",
        )


def ingest(
    old: AbstractContextManager[OldContainer | OldBundle],
    onto: str,
    tag: str,
    engine: Engine,
    connect: Connect,
    spool: Spool,
    progress: Progress,
    *,
    options: IngestOptions | None = None,
) -> IngestResult:
    """Start the new model on the image ``onto``, do the copies that it requests, and tag the result as a new image.

    ``old`` is entered when ``onto`` and ``tag`` were checked, because opening it may take long, such as reading a pipe.
    The lock of the tag, and of an old container, is held from the beginning. Raises `UsageError` for an unclean base or a
    tag that may not move, `TrustError` for an old bundle that is refused, and what `ingest_prepared` raises.
    """
    options = options or IngestOptions()
    base = engine.image(onto)
    check_onto(base)
    name = image_tags.check(tag, engine, force=options.force)
    with image_tags.locked(name), old as source, _prepared(source, engine, spool, progress) as prepared:
        labels = source.admission.labels if isinstance(source, OldBundle) else image.NO_MARKS
        return ingest_prepared(prepared, base, name, engine, connect, options.run, progress, keep=options.keep, labels=labels)


@contextmanager
def _prepared(
    old: OldContainer | OldBundle, engine: Engine, spool: Spool, progress: Progress
) -> Iterator[AbstractContextManager[Old]]:
    """Check an old bundle, or lock an old container during the block."""
    if isinstance(old, OldBundle):
        admitted = old.admission.admit(read_bundle(old.store), old.store, progress)
        yield bundle(admitted, old.store, engine, spool, progress, allow_privileged=old.allow_privileged)
        return
    with state_directory.hold("container", old.container.id):
        yield container(old.container, engine, old.connect, progress)


def ingest_prepared(
    old: AbstractContextManager[Old],
    onto: Image,
    tag: str,
    engine: Engine,
    connect: Connect,
    options: RunOptions,
    progress: Progress,
    *,
    keep: bool,
    labels: Mapping[str, str] = image.NO_MARKS,
) -> IngestResult:
    """Do the work of `ingest` with an old model that was checked and locked.

    ``old`` is entered when the new model answers, so that an old container is paused only while it is read. ``labels`` are
    added to the new image. Raises `ModelError` when the model fails its Ingest; then only the container is left, with ``keep``.
    """
    engine_limits.check_image(len(onto.diff_ids), 1, engine.info())
    with _without_volumes(onto, engine, progress) as clean, engine.running(clean, options, keep=keep) as new:
        with _with_log(new, engine, "" if keep else "Use --keep to keep its container."):
            copied, served = _served(old, new, engine, connect, progress)
        progress.stage("committing the new model's container")
        with engine.committed(new) as committed:
            config = image.build_ingested(
                bases.describe(onto), committed.diff_ids, served.labels, served.source, served.lineage, now(), labels
            )
            with engine.loaded(NewImage(config, committed.diff_ids, ()), committed, progress) as made:
                previous = image_tags.give(engine, made, tag)
    return IngestResult(tag, made.id, Digest.of(config), copied, previous)


def push(
    made: IngestResult,
    target: Store | RemoteTarget | LocalReference,
    engine: Engine,
    connect: Connect,
    options: RunOptions,
    spool: Spool,
    progress: Progress,
    seal: Seal | None = None,
) -> pushing.PushResult:
    """Run the new image and push the state that its model exports; a failure leaves the image in place."""
    try:
        with (
            engine.running(engine.image(made.image_id), options, keep=False) as new,
            _with_log(new, engine, ""),
            connect(new) as model,
        ):
            return pushing.push(new, engine, model, spool, target, progress, pushing.Options(), seal)
    except BundlerError as error:
        error.message = f"{made.tag} is complete and can be pushed later; pushing it now failed: {error.message}"
        raise


def _served(
    old: AbstractContextManager[Old], new: Container, engine: Engine, connect: Connect, progress: Progress
) -> tuple[Sequence[Copied], Old]:
    """Serve the new model's Ingest; return the copies and the old model."""
    with connect(new) as model:
        progress.stage(f"waiting for the Migrator of {new.name}")
        model.connect()
        with old as source:
            copier = Copier(source.container, new, engine, progress)
            progress.stage("waiting for the requests of the new model")
            model.ingest(copier.copy)
        return copier.done, source


@contextmanager
def _with_log(of: Container, engine: Engine, advice: str) -> Iterator[None]:
    """Add the container's log and state to a `ModelError` of the block, unless it has those of another container."""
    try:
        yield
    except ModelError as error:
        if error.log is None:
            error.log = ""
            with suppress(BundlerError):
                error.log = engine.logs(of)
                if not engine.container(of.id).running:
                    error.hint = f"{of.name} has exited."
            error.hint = f"{error.hint} {advice}".strip()
        raise


@contextmanager
def _without_volumes(onto: Image, engine: Engine, progress: Progress) -> Iterator[Image]:
    """Yield the same image without declared volumes, because a commit omits their content."""
    if not onto.config.get("Volumes"):
        yield onto
        return
    base = bases.describe(onto)
    plain = base.model_copy(update={"config": {key: value for key, value in base.config.items() if key != "Volumes"}})
    with engine.loaded(NewImage(image.clean_config(plain), onto.diff_ids, ()), onto, progress) as made:
        yield made
