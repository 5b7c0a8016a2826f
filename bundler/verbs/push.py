"""Push: from a running model container to a bundle in a store."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version

from bundler.bundle import Bundle, list_bundles, read_bundle
from bundler.errors import BundlerError, ModelError
from bundler.format import artifact, image, paths
from bundler.format import metadata as meta
from bundler.format.compression import Compression
from bundler.format.content import Descriptor, Digest
from bundler.format.layer_reader import decompressed
from bundler.format.reference import LocalReference, image_name, image_tag
from bundler.ports import Container, Displaced, Engine, Image, Model, Spool, Store
from bundler.streams import Progress, drain
from bundler.verbs import base_image, copy, engine_limits
from bundler.verbs.audit import Forgotten, find_forgotten
from bundler.verbs.capture import Captured, capture, plan
from bundler.verbs.early_upload import sender
from bundler.verbs.estimate import Estimate
from bundler.verbs.have import is_sound

DATA_SET_LABEL = "t1.fps.model.data-set-uuid"
"""Image label that holds the data-set UUID of an FPS ModelKey."""

LEAST_SPACE = 64 << 20
"""Bytes that must be free in the local store: how large a model's state is, nobody knows before it has been read."""


Seal = Callable[[Bundle, Store], None]
"""Signs a bundle in a store that has it."""


@dataclass(frozen=True)
class PushResult:
    """The bundle that was made, where it is, and for how many seconds the model stood still.

    ``unchanged`` says that it was there already, because the model has learned nothing since. After a dry run
    ``planned`` is what would be sent, and nothing is anywhere.
    """

    bundle: Bundle
    where: str
    sent: int
    paused: float
    unchanged: bool = False
    forgotten: Sequence[Forgotten] = ()
    planned: copy.Plan | None = None
    expected: Estimate | None = None
    """What was estimated before the pause; None where the engine could not tell."""
    displaced: Displaced | None = None
    """The bundle that had the name before."""


@dataclass(frozen=True)
class Options:
    """How to push.

    ``pause`` the model while it is read, by which ``reader``, on which ``base`` if not on the one that is found; whether
    a FIFO, socket or device is an error (``strict``), whether there may be no state at all (``allow_empty``), to look for changes
    that Export forgets (``audit``), and to name this host.
    ``compression`` is how layers are made smaller. With ``max_pause`` a model is not paused that would be paused for more seconds.
    A ``dry_run`` captures, too, as nobody knows before what would be sent, but keeps nothing.
    """

    pause: bool = True
    max_pause: float | None = None
    reader: str = "auto"
    base: str | None = None
    strict: bool = False
    allow_empty: bool = False
    audit: bool = False
    host_name: bool = True
    dry_run: bool = False
    compression: Compression = Compression.AUTO


def local_name(container: Container, source: Image) -> LocalReference:
    """How a model's bundles are called in the local store: by the title and version of its image."""
    model = _model(container, source)
    return LocalReference(image_name(model.title), image_tag(model.version))


def push(
    container: Container,
    engine: Engine,
    model: Model,
    spool: Spool,
    target: Store | LocalReference,
    progress: Progress,
    options: Options,
    seal: Seal | None = None,
) -> PushResult:
    """Capture a model's state into the local store and, where ``target`` is another one, carry it there.

    The model is paused only while its bytes leave the container. With ``seal`` the bundle is signed before it travels, and
    one that is there already is signed there. Raises `ModelError` when its state
    cannot be exported, and `NoSpaceError` when it does not fit into the local store; when the way to
    ``target`` fails, the capture stays there.
    """
    spool.reserve(LEAST_SPACE)
    source = engine.image(container.image_id)
    engine_limits.check_settings(container.image_name or source.id, source.config)
    clean = base_image.of_container(container, source, options.base, engine, progress)
    engine_limits.check_settings(", ".join(clean.names) or clean.image_id, clean.config)
    engine_limits.check_push(len(clean.diff_ids), engine.info(), progress)
    progress.stage("asking the model to export its state")
    exports = paths.check_exports(model.export())
    reader = engine.reader(container, options.reader)
    forgotten = find_forgotten(container, plan(container, reader, exports), engine) if options.audit else ()
    known = _known_layers(spool)
    with sender(spool, target, enabled=not options.dry_run) as early:
        with base_image.materialized_base(clean, source, engine, progress) as materialized:
            captured = capture(
                container,
                exports,
                materialized,
                engine,
                reader,
                spool,
                progress,
                pause=options.pause,
                max_pause=options.max_pause,
                strict=options.strict,
                allow_empty=options.allow_empty,
                compression=options.compression,
                finished=lambda blob, layer: early.add(blob) if early and layer.diff_id not in known else None,
            )
        made = list(captured.descriptors)
        with _dropped_on_failure(made, spool):
            captured = _with_known_blobs(captured, known, spool)
            metadata = _metadata(container, source, clean, captured, engine, options)
            present = _already_there(metadata, target, spool)
            if present:
                spool.drop(captured.descriptors)
                if seal and not options.dry_run:
                    seal(present, spool.open(target) if isinstance(target, LocalReference) else target)
                return PushResult(present, _where(target), 0, captured.paused, True, forgotten, expected=captured.expected)
            bundle = _describe_bundle(metadata, captured.descriptors, spool)
            if options.dry_run:
                planned = _plan(bundle, target, spool, {blob.digest for blobs in known.values() for blob in blobs})
                return PushResult(bundle, _where(target), 0, captured.paused, False, forgotten, planned, captured.expected)
            made += [bundle.manifest.config, bundle.manifest.descriptor]
            kept = target if isinstance(target, LocalReference) else _kept_name(container, source, bundle)
            local, displaced = spool.add(kept, bundle.manifest)
        if isinstance(target, LocalReference):
            if seal:
                seal(bundle, local)
            return PushResult(
                bundle, local.where, 0, captured.paused, False, forgotten, expected=captured.expected, displaced=displaced
            )
        with _told_how_to_go_on(f"fps-bundle copy {kept} {target.where}", progress):
            if seal:
                seal(bundle, local)
            copied = copy.copy(local, target, progress, bundle, early=early)
    spool.forget(kept)
    return PushResult(
        bundle,
        target.where,
        copied.sent,
        captured.paused,
        False,
        forgotten,
        expected=captured.expected,
        displaced=copied.displaced,
    )


def _plan(bundle: Bundle, target: Store | LocalReference, spool: Spool, known: Collection[Digest]) -> copy.Plan:
    """What a push would send; the capture, which the local store has for now beside the ``known`` layers, is dropped."""
    try:
        if isinstance(target, LocalReference):
            there = [blob for blob in bundle.manifest.blobs if blob.digest in known]
            return copy.Plan(bundle, there, [blob for blob in bundle.manifest.blobs if blob not in there])
        return copy.plan(spool.open(LocalReference("")), target, bundle)
    finally:
        spool.drop(bundle.manifest.blobs)


def _kept_name(container: Container, source: Image, bundle: Bundle) -> LocalReference:
    """How a bundle is called while it is on its way to another store."""
    return LocalReference(local_name(container, source).name, digest=bundle.digest)


def _known_layers(spool: Spool) -> Mapping[Digest, Sequence[Descriptor]]:
    """The blobs that the local store has of layers, by their diff IDs."""
    store = spool.open(LocalReference(""))
    known: dict[Digest, list[Descriptor]] = {}
    with suppress(BundlerError):  # what is damaged there does not concern this bundle
        for _, manifest in list_bundles(store):
            for layer, blob in zip(read_bundle(store, manifest.descriptor).metadata.layers, manifest.layers, strict=True):
                known.setdefault(layer.diff_id, []).append(blob)
    return known


def _with_known_blobs(captured: Captured, known: Mapping[Digest, Sequence[Descriptor]], spool: Spool) -> Captured:
    """Use again what the local store has of the same layers in another compression, by another version of this program."""
    store = spool.open(LocalReference(""))
    used = []
    for layer, blob in zip(captured.layers, captured.descriptors, strict=True):
        others = known.get(layer.diff_id, [])
        others = [] if blob in others else others
        used.append(next((other for other in others if _is_sound(store, other, layer)), blob))
    spool.drop([blob for blob in captured.descriptors if blob not in used])
    return replace(captured, descriptors=used)


def _is_sound(store: Store, blob: Descriptor, layer: meta.Layer) -> bool:
    """Whether a blob really holds a layer that we have just made."""
    try:
        with store.open(blob) as stream, decompressed(stream, layer, store.where) as content:
            drain(content)
    except BundlerError:
        return False
    return True


@contextmanager
def _dropped_on_failure(blobs: Sequence[Descriptor], spool: Spool) -> Iterator[None]:
    """Nobody could find blobs that no bundle names, so a block that fails takes them along."""
    try:
        yield
    except BaseException:
        spool.drop(blobs)
        raise


@contextmanager
def _told_how_to_go_on(command: str, progress: Progress) -> Iterator[None]:
    """What was captured stays when the block fails, and ``command`` brings it where it should go."""
    go_on = f"The captured state is kept. To go on without the model: {command}"
    try:
        yield
    except BundlerError as error:
        error.hint = f"{error.hint} {go_on}".strip()
        raise
    except KeyboardInterrupt:
        progress.warn(go_on)
        raise


def _metadata(
    container: Container, source: Image, clean: meta.Base, captured: Captured, engine: Engine, options: Options
) -> meta.Metadata:
    info = engine.info()
    return meta.Metadata(
        created=meta.now(),
        tool=meta.Tool(name="fps-bundle", version=version("fps-bundle")),
        source=meta.Source(
            engine=f"{info.name} {info.version}",
            container_name=container.name,
            container_id=container.id,
            host_name=socket.gethostname() if options.host_name else None,
        ),
        model=_model(container, source),
        base=clean,
        image={key: value for key, value in image.settings(source.config).items() if key in image.SETTINGS},
        exports=captured.exports,
        layers=captured.layers,
        parents=captured.parents,
        removed=captured.removed,
        privileged=captured.privileged,
        lineage=image.lineage(source.labels, source.diff_ids),
    )


def _already_there(metadata: meta.Metadata, target: Store | LocalReference, spool: Spool) -> Bundle | None:
    """The bundle that the target names, when it holds this very state already, undamaged."""
    store = spool.open(target) if isinstance(target, LocalReference) else target
    try:
        present = read_bundle(store)
    except BundlerError:
        return None  # nothing there, or nothing sound, which will be replaced; or no way to it, which the copy will say
    if not metadata.same_state(present.metadata, present.digest):
        return None
    return present if all(is_sound(store, blob) for blob in present.manifest.blobs) else None


def _where(target: Store | LocalReference) -> str:
    return str(target) if isinstance(target, LocalReference) else target.where


@contextmanager
def running(container: Container, engine: Engine, *, start: bool) -> Iterator[Container]:
    """The container while it runs; one that is stopped is started for the length of the block when ``start`` says so.

    Raises `ModelError` for a container that does not run, or that somebody else holds still.
    """
    if container.running:
        if container.paused:
            raise ModelError(
                f"the container {container.name} is paused by somebody else",
                hint=f"Resume it first: docker unpause {container.name}",
            )
        yield container
        return
    if not start:
        raise ModelError(
            f"the container {container.name} is not running",
            hint=f"Start it: docker start {container.name}, or push with --start.",
        )
    with engine.started(container) as started:
        yield started


def _model(container: Container, source: Image) -> meta.Model:
    labels = source.labels
    name, tag = _name_and_tag(container, source)
    return meta.Model(
        title=labels.get(artifact.TITLE) or name.rpartition("/")[2] or "model",
        version=labels.get(artifact.VERSION) or tag or "latest",
        vendor=labels.get(artifact.VENDOR) or None,
        data_set_uuid=labels.get(DATA_SET_LABEL) or None,
    )


def _name_and_tag(container: Container, source: Image) -> tuple[str, str]:
    """What the image is called, without a digest; where it is called by its ID alone, what the container is called."""
    image_id = source.id.removeprefix("sha256:")
    for found in (*source.names, container.image_name):
        name = found.partition("@")[0]
        if name and not name.startswith(("sha256:", "<none>")) and not image_id.startswith(name):
            repository, _, tag = name.rpartition(":")
            return (repository, tag) if repository and "/" not in tag else (name, "")
    return container.name, ""


def _describe_bundle(metadata: meta.Metadata, layers: Sequence[Descriptor], spool: Spool) -> Bundle:
    """Write the metadata beside the layers that were packed, and the manifest that holds all together."""
    data = metadata.to_bytes()
    manifest = artifact.build(metadata, Descriptor.of(artifact.CONFIG, data), layers)
    blob = spool.new_blob()
    try:
        blob.write(data)
        blob.finish(artifact.CONFIG)
    except BaseException:
        blob.discard()
        raise
    return Bundle(manifest, metadata)
