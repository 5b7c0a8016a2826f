"""The manifest of a delta: a bundle as its differences from another one (docs/spec/delta.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bundler.errors import IntegrityError, UsageError
from bundler.format import artifact, reference, strict_json
from bundler.format.content import Descriptor, Digest
from bundler.format.split_manifest import EMPTY

DELTA = "application/vnd.fps.bundle.delta.v1"
TAR_DIFF = "application/vnd.tar-diff"
TARGET_MANIFEST = "application/vnd.fps.bundle.manifest.v1+json+zstd"
"""The target's manifest as a blob, compressed: some registries would serve a plain one as a manifest, without its layers."""

TARGET = "fps.bundle.delta.target"
"""Annotation: the digest of the target's manifest."""
SOURCE = "fps.bundle.delta.source"
"""Annotation: the digest of the source's manifest."""
SOURCE_NAME = "fps.bundle.delta.source.name"
"""Annotation: a name of the source, for messages."""
SOURCE_LAYERS = "fps.bundle.delta.source.diff-ids"
"""Annotation: the diff IDs of the source's layers in their order, separated by spaces."""
SOURCE_STORED = "fps.bundle.delta.source.stored"
"""Annotation: the digest of the manifest by which the source is stored beside the delta: its own, or that of a delta."""
LAYER = "fps.bundle.delta.layer"
"""Annotation of a tar-diff: the digest of the target's layer that it describes."""

MAX_LINKS = 8
"""Most deltas that are read one after another to rebuild a bundle."""
MAX_LAYERS = 65
"""Most layers of a bundle."""


@dataclass(frozen=True)
class DeltaSource:
    """The source of a delta: its manifest digest, the diff IDs of its layers, and a name for messages.

    ``stored`` is the digest of the manifest by which it is stored beside the delta: its own, or that of a delta.
    """

    digest: Digest
    diff_ids: tuple[Digest, ...]
    name: str
    stored: Digest


@dataclass(frozen=True)
class DeltaManifest:
    """A delta as stored: the exact bytes of its manifest, and its parsed fields.

    ``diffs`` are the tar-diffs by the digest of the target's layer, ``whole`` the target's layers that are in the delta.
    A layer of the target in neither has the diff ID of a layer of the source. ``target_manifest`` is the blob that
    `compressed` makes.
    """

    descriptor: Descriptor
    data: bytes
    target: Digest
    target_manifest: Descriptor
    metadata: Descriptor
    source: DeltaSource
    diffs: Mapping[Digest, Descriptor]
    whole: Mapping[Digest, Descriptor]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """All blobs in the order in which they are transferred."""
        return (self.target_manifest, self.metadata, *self.diffs.values(), *self.whole.values(), EMPTY)

    @property
    def size(self) -> int:
        """Bytes of the whole delta as stored and transferred."""
        return len(self.data) + sum(blob.size for blob in self.blobs)

    def to_json(self) -> dict[str, object]:
        """The source and the size in bytes, for scripts."""
        return {"source": str(self.source.digest), "size": self.size}


def source_tag(source: Digest) -> str:
    """The tag that keeps the source of a delta in a registry, whose garbage collector does not know the dependency."""
    return f"src-{source.short}"


def compressed(target: artifact.Manifest) -> bytes:
    """The blob with the manifest of a target."""
    import zstandard  # slow to import, and a list of bundles needs none

    return zstandard.ZstdCompressor().compress(target.data)


def decompressed(blob: bytes, target: Digest, where: str) -> bytes:
    """Return the manifest of a target from its blob; raises `IntegrityError` unless it has the digest of the target."""
    import zstandard

    try:
        strict_json.check_size(zstandard.frame_content_size(blob), f"{where}: the manifest of the target")
        data = zstandard.ZstdDecompressor().decompress(blob)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"{where}: the manifest of the delta's target is not a zstd frame: {error}") from error
    if Digest.of(data) != target:
        raise IntegrityError(f"{where}: the delta has another manifest than that of its target {target}")
    return data


def build(
    target: artifact.Manifest,
    target_manifest: Descriptor,
    source: DeltaSource,
    diffs: Mapping[Digest, Descriptor],
    whole: Sequence[Descriptor],
) -> DeltaManifest:
    """The manifest of a delta; ``diffs`` are by the digest of the target's layer."""
    layers = [
        target_manifest,
        replace(target.config, annotations={}),
        *(replace(diff, annotations={LAYER: str(layer)}) for layer, diff in diffs.items()),
        *whole,
    ]
    content = {
        "schemaVersion": 2,
        "mediaType": artifact.MANIFEST,
        "artifactType": DELTA,
        "config": EMPTY.to_json(),
        "layers": [layer.to_json() for layer in layers],
        "annotations": {
            TARGET: str(target.descriptor.digest),
            SOURCE: str(source.digest),
            SOURCE_NAME: source.name,
            SOURCE_STORED: str(source.stored),
            SOURCE_LAYERS: " ".join(map(str, source.diff_ids)),
        },
    }
    return read(json.dumps(content, separators=(",", ":"), sort_keys=True).encode(), "the new delta")


def is_delta(data: bytes) -> bool:
    """Whether a manifest has the artifact type of a delta; it can still be invalid."""
    return strict_json.load(data, "a manifest").get("artifactType") == DELTA


def read(data: bytes, where: str) -> DeltaManifest:
    """Read the manifest of a delta; raises `IntegrityError` for another manifest, and for one that names other blobs."""
    *layers, config = artifact.blobs(data, where)
    if artifact.subject(data, where) is not None:
        raise IntegrityError(f"{where}: the delta has a subject, which a delta must not have")
    content = strict_json.load(data, where)
    if artifact.has_content_elsewhere(content):
        raise IntegrityError(f"{where}: the delta has a blob with `urls` or `data`, which a delta must not have")
    if content.get("artifactType") != DELTA:
        raise artifact.no_bundle(where, f"an artifact of type {str(content.get('artifactType'))[:100]!r}")
    given = content.get("annotations")
    annotations = given if isinstance(given, dict) else {}
    target, source = Digest.parse(annotations.get(TARGET)), _source(annotations, where)
    if _is_other(config, EMPTY) or len(layers) < 2:
        raise _other_blobs(where)
    manifest, metadata, *rest = layers
    if manifest.media_type != TARGET_MANIFEST or metadata.media_type != artifact.CONFIG:
        raise _other_blobs(where)
    if source.digest == target:
        raise IntegrityError(f"{where}: the delta names its target as its source")
    diffs, whole = _content(rest, where)
    descriptor = replace(Descriptor.of(artifact.MANIFEST, data), artifact_type=DELTA)
    return DeltaManifest(descriptor, data, target, manifest, metadata, source, diffs, whole)


def check_target(delta: DeltaManifest, target: artifact.Manifest, where: str) -> None:
    """Raise `IntegrityError` for a delta with other metadata than its target, or with a layer that its target does not have."""
    if _is_other(delta.metadata, target.config):
        raise IntegrityError(f"{where}: the delta has other metadata than its target {delta.target}")
    layers = {layer.digest: layer for layer in target.layers}
    for digest in (*delta.diffs, *delta.whole):
        if digest not in layers:
            raise IntegrityError(f"{where}: the delta has the layer {digest}, which its target {delta.target} does not have")
    for digest, whole in delta.whole.items():
        if _is_other(whole, layers[digest]):
            raise IntegrityError(f"{where}: the delta gives the layer {digest} another size than its target {delta.target}")


def _is_other(one: Descriptor, other: Descriptor) -> bool:
    return (one.media_type, one.digest, one.size) != (other.media_type, other.digest, other.size)


def _is_local_name(text: object) -> bool:
    try:
        return isinstance(text, str) and isinstance(reference.parse(text), reference.LocalReference)
    except UsageError:
        return False


def _source(annotations: Mapping[str, object], where: str) -> DeltaSource:
    layers, name = annotations.get(SOURCE_LAYERS), annotations.get(SOURCE_NAME)
    if not isinstance(layers, str) or not isinstance(name, str) or not _is_local_name(name):
        raise IntegrityError(f"{where}: the delta does not describe its source")
    diff_ids = tuple(map(Digest.parse, layers.split(" "))) if layers else ()
    if len(diff_ids) > MAX_LAYERS:
        raise IntegrityError(f"{where}: the source of the delta has more than {MAX_LAYERS} layers")
    return DeltaSource(Digest.parse(annotations.get(SOURCE)), diff_ids, name, Digest.parse(annotations.get(SOURCE_STORED)))


def _content(blobs: Sequence[Descriptor], where: str) -> tuple[dict[Digest, Descriptor], dict[Digest, Descriptor]]:
    diffs: dict[Digest, Descriptor] = {}
    whole: dict[Digest, Descriptor] = {}
    for blob in blobs:
        if blob.media_type == TAR_DIFF:
            layer, found = Digest.parse(blob.annotations.get(LAYER)), diffs
        elif blob.media_type == artifact.LAYER:
            layer, found = blob.digest, whole
        else:
            raise _other_blobs(where)
        if layer in diffs or layer in whole:
            raise IntegrityError(f"{where}: the delta has the layer {layer} twice")
        found[layer] = blob
    if len(diffs) + len(whole) > MAX_LAYERS:
        raise IntegrityError(f"{where}: the delta has more than {MAX_LAYERS} layers")
    return diffs, whole


def _other_blobs(where: str) -> IntegrityError:
    return IntegrityError(f"{where}: the manifest names blobs that a delta does not have")
