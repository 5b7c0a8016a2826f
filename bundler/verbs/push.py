"""Push: capture the state of a running model container as a bundle, and bring the bundle to a store."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version

from bundler.bundle import Bundle, list_bundles, read_bundle
from bundler.errors import BundlerError, ModelError
from bundler.format import artifact, image, paths
from bundler.format import metadata as meta
from bundler.format.content import Descriptor, Digest
from bundler.format.delta_manifest import DeltaManifest
from bundler.format.layer_reader import decompressed
from bundler.format.reference import LocalReference, image_name, image_tag
from bundler.localfs import state_directory
from bundler.ports import Container, Displaced, Engine, Image, Model, Spool, Store
from bundler.streams import Progress, drain
from bundler.verbs import base_image, copy, engine_limits
from bundler.verbs.audit import Forgotten, find_forgotten
from bundler.verbs.capture import Capture, Captured, CaptureOptions, resolve_exports
from bundler.verbs.early_upload import Sender
from bundler.verbs.estimate import Estimate
from bundler.verbs.have import is_sound
from bundler.verbs.push_destination import Destination, LocalDestination, RemoteDestination, RemoteTarget, Seal
from bundler.verbs.tag_template import TagTemplate

DATA_SET_LABEL = "t1.fps.model.data-set-uuid"
"""Image label that holds the data-set UUID of an FPS ModelKey."""

LEAST_SPACE = 64 << 20
"""Bytes that must be free in the local store; the size of a model's state is not known before it has been read."""


StoredLayers = Mapping[Digest, Sequence[tuple[Descriptor, meta.Layer]]]
"""Layers in the local store by diff ID: their blobs, and how these are described."""


@dataclass(frozen=True)
class PushResult:
    """The bundle, where it is, and for how many seconds the model was paused.

    ``unchanged``: the destination had this bundle already, as the state did not change since. After a dry run
    ``planned`` is what would be sent, and nothing is stored.
    """

    bundle: Bundle
    where: str
    sent: int
    paused: float
    unchanged: bool = False
    forgotten: Sequence[Forgotten] = ()
    planned: copy.Plan | None = None
    expected: Estimate | None = None
    """The estimate before the pause; None where the engine does not report sizes."""
    displaced: Displaced | None = None
    """The bundle that had the name before."""
    delta: DeltaManifest | None = None
    """The delta that was sent in place of the bundle."""


@dataclass(frozen=True)
class Options(CaptureOptions):
    """How to push, beside how to capture.

    ``reader`` says how the container is read, and ``base`` names the clean base if not the detected one. ``audit`` looks
    for changes outside of the exports. A ``dry_run`` captures too, as only that shows what would be sent, but keeps nothing.
    With a ``template`` the bundle gets a tag made from it, in place of the tag of the destination.
    """

    reader: str = "auto"
    base: str | None = None
    audit: bool = False
    record_hostname: bool = True
    dry_run: bool = False
    template: TagTemplate | None = None


def local_name(container: Container, source: Image) -> LocalReference:
    """The default name of a model's bundles in the local store: title and version of its image."""
    model = _model(container, source)
    return LocalReference(image_name(model.title), image_tag(model.version))


def push(
    container: Container,
    engine: Engine,
    model: Model,
    spool: Spool,
    target: Store | RemoteTarget | LocalReference,
    progress: Progress,
    options: Options,
    seal: Seal | None = None,
) -> PushResult:
    """Capture a model's state into the local store and, where ``target`` is another store, copy it there, or its differences.

    ``container`` comes from `running`, which locks it. The model is paused only while its files are read. With ``seal`` the
    bundle is signed before it is copied; an unchanged bundle is signed in the target. Raises `ModelError` when the state
    cannot be exported, and `NoSpaceError` when it does not fit into the local store. When the copy fails, the capture stays
    in the local store.
    """
    spool.reserve(LEAST_SPACE)
    source, clean = _base(container, engine, options, progress)
    progress.stage("requesting Export from the model")
    exports = paths.check_exports(model.export())
    reader = engine.reader(container, options.reader)
    forgotten = find_forgotten(container, resolve_exports(container, reader, exports), engine) if options.audit else ()
    stored = _stored_layers(spool)
    destination = _destination(target, spool, container, progress)
    capture = Capture(container, exports, engine, reader, spool, progress, options)
    with _early_upload(capture, destination, stored, options) as sender:
        captured = capture.run(base_image.materialized_base(clean, source, engine, progress))
        with _dropped_on_failure(captured.descriptors, spool):
            captured = _with_stored_blobs(captured, stored, spool)
            metadata = _metadata(container, source, clean, captured, engine, options)
            packed = _pack(metadata, captured.descriptors, destination, stored, spool, options)
        copied = None
        if packed.is_new:
            copied = destination.deliver(packed.bundle, sender, seal, progress)
        elif packed.unchanged and seal and not options.dry_run:
            seal(packed.bundle, destination.store)
    return PushResult(
        bundle=packed.bundle,
        where=destination.where,
        sent=copied.sent if copied else 0,
        paused=captured.paused,
        unchanged=packed.unchanged,
        forgotten=forgotten,
        planned=packed.planned,
        expected=captured.expected,
        displaced=copied.displaced if copied else packed.displaced,
        delta=copied.delta if copied else None,
    )


def _destination(
    target: Store | RemoteTarget | LocalReference, spool: Spool, container: Container, progress: Progress
) -> Destination:
    if isinstance(target, LocalReference):
        return LocalDestination(target, spool)
    remote = target if isinstance(target, RemoteTarget) else RemoteTarget(target, target)
    if not remote.place:
        return RemoteDestination(remote, spool)
    from bundler.verbs.delta_destination import DeltaDestination  # needs numpy, which is slow to import

    return DeltaDestination(remote, spool, container, progress)


def _base(container: Container, engine: Engine, options: Options, progress: Progress) -> tuple[Image, meta.Base]:
    """Find the container's image and its clean base, and check both before the model is asked for anything."""
    source = engine.image(container.image_id)
    engine_limits.check_settings(container.image_name or source.id, source.config)
    clean = base_image.of_container(container, source, options.base, engine, progress)
    engine_limits.check_settings(", ".join(clean.names) or clean.image_id, clean.config)
    engine_limits.check_push(len(clean.diff_ids), engine.info(), progress)
    return source, clean


def _early_upload(
    capture: Capture, destination: Destination, stored: StoredLayers, options: Options
) -> AbstractContextManager[Sender | None]:
    """Send each new layer during the capture; stored layers are left to the copy, which may use another blob of them."""
    if options.dry_run:
        return nullcontext()
    return destination.early_upload(it.blob for it in capture.finished_layers() if it.layer.diff_id not in stored)


@dataclass(frozen=True)
class _Packed:
    """A captured bundle: new and named in the local store, or unchanged, or planned by a dry run and dropped."""

    bundle: Bundle
    is_new: bool = False
    displaced: Displaced | None = None
    """The bundle that had the name in the local store before."""
    unchanged: bool = False
    planned: copy.Plan | None = None


def _pack(
    metadata: meta.Metadata,
    layers: Sequence[Descriptor],
    destination: Destination,
    stored: StoredLayers,
    spool: Spool,
    options: Options,
) -> _Packed:
    """Make a bundle of captured layers in the local store, unless the destination holds the same state already."""
    if present := _already_there(metadata, destination):
        spool.drop(layers)
        return _Packed(present, unchanged=True)
    bundle = _describe_bundle(metadata, layers, spool)
    if options.template:
        with _dropped_on_failure([bundle.manifest.config], spool):
            destination.rename(options.template.tag(bundle))
    if options.dry_run:
        try:
            return _Packed(
                bundle, planned=destination.plan(bundle, {blob.digest for layers in stored.values() for blob, _ in layers})
            )
        finally:
            spool.drop(bundle.manifest.blobs)
    with _dropped_on_failure([bundle.manifest.config, bundle.manifest.descriptor], spool):
        _, displaced = spool.add(destination.local_name(bundle), bundle.manifest)
    return _Packed(bundle, is_new=True, displaced=displaced)


def _stored_layers(spool: Spool) -> StoredLayers:
    store = spool.open(LocalReference(""))
    stored: dict[Digest, list[tuple[Descriptor, meta.Layer]]] = {}
    with suppress(BundlerError):  # a damaged bundle there does not affect this one
        for _, manifest in list_bundles(store):
            for layer, blob in zip(read_bundle(store, manifest.descriptor).metadata.layers, manifest.layers, strict=True):
                stored.setdefault(layer.diff_id, []).append((blob, layer))
    return stored


def _with_stored_blobs(captured: Captured, stored: StoredLayers, spool: Spool) -> Captured:
    """Replace blobs by those that the local store has of the same layers in another compression, or by another version."""
    store = spool.open(LocalReference(""))
    used, layers = [], []
    for layer, blob in zip(captured.layers, captured.descriptors, strict=True):
        others = stored.get(layer.diff_id, [])
        others = [] if any(other == blob for other, _ in others) else others
        chosen, described = next(((other, was) for other, was in others if _is_sound(store, other, layer)), (blob, layer))
        used.append(chosen)
        layers.append(layer.model_copy(update={"compression": described.compression}))
    spool.drop([blob for blob in captured.descriptors if blob not in used])
    return replace(captured, descriptors=used, layers=tuple(layers))


def _is_sound(store: Store, blob: Descriptor, layer: meta.Layer) -> bool:
    """Whether a stored blob has the content of a layer that was just captured."""
    try:
        with store.open(blob) as stream, decompressed(stream, layer, store.where) as content:
            drain(content)
    except BundlerError:
        return False
    return True


@contextmanager
def _dropped_on_failure(blobs: Sequence[Descriptor], spool: Spool) -> Iterator[None]:
    """Drop these blobs when the block fails: no bundle names them."""
    try:
        yield
    except BaseException:
        spool.drop(blobs)
        raise


def _metadata(
    container: Container, source: Image, clean: meta.Base, captured: Captured, engine: Engine, options: Options
) -> meta.Metadata:
    info = engine.info()
    return meta.Metadata(
        created=meta.now(),
        tool=meta.Tool(name="fps-bundle", version=version("fps-bundle")),
        source=meta.Source(
            engine=f"{info.name} {info.version}".rstrip(),
            container_name=container.name,
            container_id=container.id,
            host_name=socket.gethostname() if options.record_hostname else None,
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


def _already_there(metadata: meta.Metadata, destination: Destination) -> Bundle | None:
    """The bundle of the destination, or the last one that was pushed there, when it has the same state and no damage."""
    if (last := destination.last) and metadata.same_state(last.metadata, last.digest):
        return last
    store = destination.store
    try:
        present = read_bundle(store)
    except BundlerError:
        return None  # missing, or damaged and then replaced, or unreachable, which the copy reports
    if not metadata.same_state(present.metadata, present.digest):
        return None
    return present if all(is_sound(store, blob) for blob in present.manifest.blobs) else None


@contextmanager
def running(container: Container, engine: Engine, *, start: bool) -> Iterator[Container]:
    """The container while it runs, locked against other pushes; with ``start`` a stopped one runs for the length of the block.

    Raises `BusyError` when another process holds the container, and `ModelError` for one that does not run or is paused.
    """
    with state_directory.hold("container", _lock_name(container)):
        if container.running:
            if container.paused:
                raise ModelError(
                    f"the container {container.name} is already paused",
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


def _lock_name(container: Container) -> str:
    """The name of a container's lock: its ID; a process has the path of its cgroup in place of it, which engines make of the ID."""
    if "/" not in container.id:
        return container.id
    ids = re.findall("[0-9a-f]{64}", container.id)
    return ids[-1] if ids else Digest.of(container.id.encode("utf-8", "surrogateescape")).hex


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
    """The image's name without a digest; the container's name for an image that has only an ID."""
    image_id = source.id.removeprefix("sha256:")
    for given in (*source.names, container.image_name):
        name = given.partition("@")[0]
        if name and not name.startswith(("sha256:", "<none>")) and not image_id.startswith(name):
            repository, _, tag = name.rpartition(":")
            return (repository, tag) if repository and "/" not in tag else (name, "")
    return container.name, ""


def _describe_bundle(metadata: meta.Metadata, layers: Sequence[Descriptor], spool: Spool) -> Bundle:
    """Store the metadata beside the packed layers, and build the manifest that lists both."""
    data = metadata.to_bytes()
    manifest = artifact.build(metadata, Descriptor.of(artifact.CONFIG, data), layers)
    spool.take(artifact.CONFIG, data)
    return Bundle(manifest, metadata)
