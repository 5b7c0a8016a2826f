"""Where the base of a new image comes from when no engine makes it: a registry, layout or archive, or an image of an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from bundler.errors import BaseMismatchError, BundlerError, EngineError, IntegrityError, UsageError
from bundler.format import compatibility, image_archive, image_compression, oci_image, reference, strict_json, units
from bundler.format.content import Descriptor, Digest, HashingReader
from bundler.format.image_compression import ImageCompression
from bundler.format.metadata import Base, Metadata, Platform
from bundler.format.oci_image import ImageConfig, ImageManifest
from bundler.format.reference import LocalReference, Reference, RegistryReference
from bundler.ports import Engine, Image, ImageStore, Spool
from bundler.streams import BLOCK, Progress
from bundler.verbs import base_image
from bundler.verbs.base_layers import ImageLayer

_DOCKER_HUB = "docker.io"
_MOST_REFERENCES = 20
"""Most places where a base is searched: a bundle may record any number of names."""


@dataclass(frozen=True)
class FoundBase:
    """An image that may be the base of a bundle; ``layers`` gives its layers for the length of a block."""

    name: str
    config: ImageConfig
    layers: Callable[[], AbstractContextManager[Sequence[ImageLayer]]]
    digest: Digest | None = None
    """Of its manifest; None for an image of an engine."""


@dataclass(frozen=True)
class Candidate:
    """A place to look for the base: ``read`` finds the image there."""

    name: str
    read: Callable[[Platform], FoundBase]


def references(recorded: Base, destination: Reference) -> list[RegistryReference]:
    """The references under which a bundle's base may be found: those in the registry of the destination first.

    They are the recorded repository digests and names, and the same ones in the registry of the destination. An image of
    which only a short name is recorded was made on its host, and is searched nowhere else.
    """
    own = destination.registry if isinstance(destination, RegistryReference) else ""
    texts = (*recorded.repo_digests, *recorded.names)
    parsed = [found for text in texts if (found := _parsed(text))]
    here = [RegistryReference(own, name, it.tag, it.digest) for it in parsed for name in _repositories(it)] if own else []
    there = [found for it in parsed if (found := _elsewhere(it))]
    return list(dict.fromkeys([*here, *there]))[:_MOST_REFERENCES]


def find(
    metadata: Metadata, candidates: Sequence[Candidate], progress: Progress, *, same_version: bool
) -> tuple[FoundBase, Base | None]:
    """Return the base of a bundle among the candidates, and its description where it only has the same version.

    Raises `BaseMismatchError` when none of them is the base.
    """
    recorded, labelled, failures = metadata.base, [], []
    for candidate in candidates:
        progress.stage(f"looking for the base image at {candidate.name}")
        try:
            found = candidate.read(recorded.platform)
            mismatches = compatibility.check(recorded, found.config.platform, found.config.diff_ids)
        except BundlerError as error:
            failures.append(error)
            continue
        if not mismatches:
            return found, None
        if same_version and base_image.is_version(metadata.model, found.config.labels):
            labelled.append(found)
        failures.append(base_image.not_the_base(candidate.name, recorded, mismatches))
    if labelled:
        config = labelled[0].config
        on = base_image.version_base(metadata.model, config.platform, config.diff_ids, config.settings)
        return labelled[0], on
    raise _not_found(metadata, failures)


def find_given(metadata: Metadata, given: Candidate, *, same_version: bool) -> tuple[FoundBase, Base | None]:
    """Do as `find` with the base that the user named; raises also what reading it raises."""
    recorded = metadata.base
    found = given.read(recorded.platform)
    mismatches = compatibility.check(recorded, found.config.platform, found.config.diff_ids)
    if not mismatches:
        return found, None
    config = found.config
    if not same_version:
        raise base_image.not_the_base(given.name, recorded, mismatches)
    if not base_image.is_version(metadata.model, config.labels):
        raise base_image.no_version(metadata.model, given.name, "")
    return found, base_image.version_base(metadata.model, config.platform, config.diff_ids, config.settings)


def in_store(store: ImageStore) -> Candidate:
    """The image that the name of a store refers to, of an index the one for the recorded platform."""
    return Candidate(store.where, partial(_read, store))


def on_engine(name: str, engine: Engine, spool: Spool, compression: ImageCompression, progress: Progress) -> Candidate:
    """An image of an engine. Its layers are read from the engine into the local store, compressed, for the length of the block."""

    def read(platform: Platform) -> FoundBase:
        del platform
        image = engine.image(name)
        config = ImageConfig(image.platform, image.diff_ids, image.config)
        layers = partial(_saved_layers, image, engine, spool, compression, progress)
        return FoundBase(f"engine:{name}", config, layers)

    return Candidate(f"engine:{name}", read)


def read_image(store: ImageStore, descriptor: Descriptor, data: bytes) -> tuple[ImageManifest, ImageConfig]:
    """Read manifest and config of an image; raises `IntegrityError` for another artifact, and where the two do not fit."""
    manifest = oci_image.read_manifest(descriptor.media_type, data, store.where)
    strict_json.check_size(manifest.config.size, f"{store.where}: the config")
    with store.open(manifest.config) as content:
        config = oci_image.read_config(content.read(), store.where)
    if len(config.diff_ids) != len(manifest.layers):
        listed, named = units.counted(len(config.diff_ids), "layer"), len(manifest.layers)
        raise IntegrityError(f"{store.where}: the config lists {listed}, the manifest {named}")
    return manifest, config


def _read(store: ImageStore, platform: Platform) -> FoundBase:
    descriptor = store.resolve_image()
    data = store.manifest(descriptor)
    if descriptor.media_type in oci_image.IMAGE_INDEXES:
        descriptor = oci_image.pick(data, platform, store.where)
        data = store.manifest(descriptor)
    manifest, config = read_image(store, descriptor, data)
    layers = [ImageLayer(oci_image.oci_layer(layer, store.where), partial(store.open, layer), store) for layer in manifest.layers]
    return FoundBase(store.where, config, lambda: nullcontext(layers), manifest.descriptor.digest)


@contextmanager
def _saved_layers(
    image: Image, engine: Engine, spool: Spool, compression: ImageCompression, progress: Progress
) -> Iterator[list[ImageLayer]]:
    """Take the layers of an engine's image into the local store: as blobs of the engine's content store, else compressed."""
    progress.stage(f"reading the base image {', '.join(image.names) or image.id} from the engine", image.size)
    spool.reserve(image.size)
    made: list[Descriptor] = []
    local = spool.open(LocalReference(""))
    try:
        if engine.info().image_store == "containerd":
            found = _stored(image, engine, spool, made, progress)
        else:
            found = _compressed(image, engine, spool, compression, made, progress)
        yield [ImageLayer(layer, partial(local.open, layer)) for layer in found]
    finally:
        spool.drop(made)


def _compressed(
    image: Image, engine: Engine, spool: Spool, compression: ImageCompression, made: list[Descriptor], progress: Progress
) -> list[Descriptor]:
    found: dict[Digest, Descriptor] = {}
    with engine.saved(image) as saved:
        for content in image_archive.layer_tars(saved):
            blob, hashed = spool.new_blob(), HashingReader(content, progress.advance)
            try:
                image_compression.compress(hashed, blob, compression)
                if hashed.digest in image.diff_ids and hashed.digest not in found:
                    found[hashed.digest] = blob.finish(compression.media_type)
                    made.append(found[hashed.digest])
                    continue
            except BaseException:
                blob.discard()
                raise
            blob.discard()
    if missing := [str(diff_id) for diff_id in image.diff_ids if diff_id not in found]:
        raise EngineError(f"the engine did not save the layer {missing[0]} of the image {image.id}", hint="Load the base again.")
    return [found[diff_id] for diff_id in image.diff_ids]


def _stored(image: Image, engine: Engine, spool: Spool, made: list[Descriptor], progress: Progress) -> list[Descriptor]:
    with engine.saved(image) as saved:
        layers = image_archive.layers_of_saved_oci_layout(saved, image.diff_ids)
    by_digest = {layer.digest: layer for layer in layers}
    with engine.saved(image) as saved:
        for digest, content in image_archive.saved_blobs(saved, by_digest.keys()):
            blob = spool.new_blob()
            while data := content.read(BLOCK):
                blob.write(data)
                progress.advance(len(data))
            made.append(blob.finish(by_digest[digest].media_type))
    if missing := by_digest.keys() - {blob.digest for blob in made}:
        raise EngineError(f"the engine saved another content of the layer {min(missing)}", hint="Load or pull the base again.")
    return [oci_image.oci_layer(layer, image.id) for layer in layers]


def _parsed(text: str) -> RegistryReference | LocalReference | None:
    """Read a recorded name, which comes from a bundle: only one that names a registry, or none."""
    try:
        found = reference.parse(text)
    except UsageError:
        return None
    if isinstance(found, RegistryReference) and found.registry == "localhost":  # Podman's word for no registry
        return LocalReference(found.repository, found.tag, found.digest)
    return found if isinstance(found, RegistryReference | LocalReference) else None


def _repositories(found: RegistryReference | LocalReference) -> list[str]:
    """The repositories in another registry that may have a copy."""
    name = found.repository if isinstance(found, RegistryReference) else found.name
    return list(dict.fromkeys([name, name.removeprefix("library/")]))


def _elsewhere(found: RegistryReference | LocalReference) -> RegistryReference | None:
    if isinstance(found, RegistryReference):
        return found
    name = found.name if "/" in found.name else f"library/{found.name}"
    return RegistryReference(_DOCKER_HUB, name, found.tag, found.digest) if found.digest else None


def _not_found(metadata: Metadata, failures: Sequence[BundlerError]) -> BaseMismatchError:
    reasons = "; ".join(dict.fromkeys(failure.message for failure in failures))
    table: Sequence[Any] = next((it.mismatches for it in failures if isinstance(it, BaseMismatchError)), ())
    return BaseMismatchError(
        f"the base of this bundle, {base_image.shown_names(metadata.base)}, was not found" + (f": {reasons}" if reasons else ""),
        mismatches=table,
        hint="Name it with --base: a registry reference, oci:DIR, oci-archive:FILE or engine:NAME.",
    )
