"""Push: from a running model container to a bundle in a store."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from bundler import base, transfer
from bundler.errors import BundlerError, ModelError
from bundler.format import artifact, image, paths
from bundler.format import metadata as meta
from bundler.format.content import Descriptor
from bundler.format.pack import ExportCount, Packer
from bundler.format.reference import LocalReference, image_name, image_tag
from bundler.ports import Container, Engine, Image, Model, Progress, Spool, Store

DATA_SET_LABEL = "t1.fps.model.data-set-uuid"
"""Image label that holds the data-set UUID of an FPS ModelKey."""


@dataclass(frozen=True)
class PushResult:
    """The bundle that was made, where it is, and for how many seconds the model stood still."""

    bundle: transfer.Bundle
    where: str
    sent: int
    paused: float


@dataclass(frozen=True)
class Options:
    """How to push: ``pause`` while reading, and name this host in the metadata."""

    pause: bool = True
    host_name: bool = True


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
) -> PushResult:
    """Capture a model's state into the local store and, where ``target`` is another one, carry it there.

    The model is paused only while its bytes leave the container. Raises `ModelError` when its state
    cannot be exported; when the way to ``target`` fails, the capture stays in the local store.
    """
    check_state(container)
    source = engine.image(container.image_id)
    clean = base.of_container(container, source, engine, progress)
    progress.stage("asking the model to export its state")
    exports = paths.check_exports(model.export())
    packed, paused = _capture(container, engine, spool, exports, len(clean.diff_ids), progress, options)
    info = engine.info()
    metadata = meta.Metadata(
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
        exports=packed.exports,
        layers=tuple(packed.layers),
        parents=packed.parents,
        privileged=tuple(packed.privileged),
    )
    bundle = _describe_bundle(metadata, packed.descriptors, spool)
    if isinstance(target, LocalReference):
        return PushResult(bundle, spool.add(target, bundle.manifest).where, 0, paused)
    captured = LocalReference(local_name(container, source).name, digest=bundle.digest)
    local = spool.add(captured, bundle.manifest)
    try:
        result = transfer.copy(local, target, progress, bundle)
    except BundlerError as error:
        error.hint = f"The captured state is kept. To go on without the model: fps-bundle copy {captured} {target.where}"
        raise
    spool.forget(captured)
    return PushResult(bundle, target.where, result.sent, paused)


@dataclass(frozen=True)
class _Packed:
    descriptors: list[Descriptor]
    layers: list[meta.Layer]
    exports: tuple[meta.Export, ...]
    parents: tuple[meta.Parent, ...]
    privileged: list[str]


def check_state(container: Container) -> None:
    """Raises `ModelError` for a container that does not run, or that somebody else holds still."""
    if not container.running:
        raise ModelError(f"the container {container.name} is not running", hint=f"Start it: docker start {container.name}")
    if container.paused:
        raise ModelError(
            f"the container {container.name} is paused by somebody else", hint=f"Resume it first: docker unpause {container.name}"
        )


def _capture(
    container: Container, engine: Engine, spool: Spool, exports: list[str], base_layers: int, progress: Progress, options: Options
) -> tuple[_Packed, float]:
    if not options.pause:
        return _pack(container, engine, spool, exports, base_layers, progress), 0.0
    with engine.paused(container):
        started = time.monotonic()
        packed = _pack(container, engine, spool, exports, base_layers, progress)
        paused = time.monotonic() - started
    return packed, paused


def _pack(container: Container, engine: Engine, spool: Spool, exports: list[str], base_layers: int, progress: Progress) -> _Packed:
    resolved = _resolve(container, engine, exports)
    topmost = paths.merge(resolved.values())
    above = {path: engine.entry(container, path) for path in sorted({p for top in topmost for p in paths.ancestors(top)})}
    packer = Packer(spool.new_blob, above, base_layers)
    counts: dict[str, ExportCount] = {}
    try:
        for top in topmost:
            progress.stage(f"reading {paths.encode(top)}")
            counts[top] = packer.start_export(top)
            for entry, content in engine.entries(container, top):
                packer.add(entry, content)
                progress.advance(entry.size)
        descriptors, layers = packer.finish()
    except BaseException:
        packer.discard()
        raise
    _tell_what_stays(counts, container, progress)
    parents = tuple(
        meta.Parent(path=paths.encode(path), mode=entry.mode, uid=entry.uid, gid=entry.gid)
        for path, entry in sorted(above.items(), key=lambda item: paths.sort_key(item[0]))
    )
    described = tuple(
        _describe(given, where, counts[next(top for top in topmost if paths.is_within(where, top))], container)
        for given, where in resolved.items()
    )
    return _Packed(descriptors, layers, described, parents, [paths.encode(path) for path in packer.privileged])


def _resolve(container: Container, engine: Engine, exports: list[str]) -> dict[str, str]:
    """Where every exported path really lies; raises `ModelError` naming all that are missing or not to be had."""
    known: dict[str, str | None] = {}

    def read_link(path: str) -> str | None:
        if path not in known:
            info = engine.stat(container, path)
            known[path] = info.link_target if info else None
        return known[path]

    resolved = {path: paths.resolve(path, read_link) for path in exports}
    paths.check_exports(resolved.values())
    volatile = [
        path
        for path, where in resolved.items()
        if any(kind == "tmpfs" and paths.is_within(where, mount) for mount, kind in container.mounts.items())
    ]
    if volatile:
        raise ModelError(
            f"the model exported paths on a tmpfs, which the engine cannot read: "
            f"{', '.join(paths.encode(path) for path in volatile[:20])}",
            hint="Have the model keep its state on a disk.",
        )
    missing = [path for path, where in resolved.items() if engine.stat(container, where) is None]
    if missing:
        raise ModelError(
            f"the model exported paths that do not exist: {', '.join(paths.encode(path) for path in missing[:20])}",
            hint="The model's Export must have written them before it returns.",
        )
    return resolved


def _describe(given: str, resolved: str, count: ExportCount, container: Container) -> meta.Export:
    volume = any(kind != "tmpfs" and paths.is_within(resolved, mount) for mount, kind in container.mounts.items())
    return meta.Export(
        path=paths.encode(given),
        resolved=paths.encode(resolved),
        kind=count.kind,
        entries=count.entries,
        size=count.size,
        volume=volume,
    )


def _tell_what_stays(counts: Mapping[str, ExportCount], container: Container, progress: Progress) -> None:
    left_out = [path for count in counts.values() for path in count.left_out]
    if left_out:
        shown = ", ".join(paths.encode(path) for path in left_out[:5])
        progress.warn(f"{len(left_out)} FIFOs or devices are not state and stay behind: {shown}")
    for mount, kind in container.mounts.items():
        if kind != "tmpfs" and any(paths.is_within(mount, top) or paths.is_within(top, mount) for top in counts):
            progress.warn(
                f"{mount} is a {kind}: its content is in the bundle, but a mount there hides it when the new image is run"
            )


def _model(container: Container, source: Image) -> meta.Model:
    labels = source.labels
    name = source.names[0] if source.names else container.image_name
    repository, _, tag = name.rpartition(":")
    return meta.Model(
        title=labels.get(artifact.TITLE) or (repository or name).rpartition("/")[2] or "model",
        version=labels.get(artifact.VERSION) or (tag if repository else "") or "latest",
        vendor=labels.get(artifact.VENDOR) or None,
        data_set_uuid=labels.get(DATA_SET_LABEL) or None,
    )


def _describe_bundle(metadata: meta.Metadata, layers: list[Descriptor], spool: Spool) -> transfer.Bundle:
    """Write the metadata beside the layers that were packed, and the manifest that holds all together."""
    data = metadata.to_bytes()
    blob = spool.new_blob()
    try:
        blob.write(data)
        config = blob.finish(artifact.CONFIG)
    except BaseException:
        blob.discard()
        raise
    return transfer.Bundle(artifact.build(metadata, config, layers), metadata)
