"""The manifest of an archive whose parts are the layers of one artifact (docs/spec/format.md, "Split artifact")."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from bundler.errors import IntegrityError
from bundler.format import artifact, strict_json
from bundler.format.content import Descriptor, Digest

SPLIT = "application/vnd.fps.bundle.split.v1"
PART = "application/octet-stream"
EMPTY_CONTENT = b"{}"
EMPTY = Descriptor.of("application/vnd.oci.empty.v1+json", EMPTY_CONTENT)
"""The config of an artifact that has none (OCI image spec 1.1, manifest.md, "Guidance for an Empty Descriptor")."""
BUNDLE_DIGEST = "fps.bundle.digest"
"""Annotation with the digest of the bundle in the archive."""

_MAX_MANIFEST = 1 << 20
_ENTRY = 160
"""Most bytes of one part in the manifest."""


def build(bundle: Digest, parts: Sequence[Descriptor]) -> bytes:
    """The manifest of these parts of the archive of a bundle."""
    content = {
        "schemaVersion": 2,
        "mediaType": artifact.MANIFEST,
        "artifactType": SPLIT,
        "config": EMPTY.to_json(),
        "layers": [part.to_json() for part in parts],
        "annotations": {BUNDLE_DIGEST: str(bundle)},
    }
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode()


def is_split(data: bytes) -> bool:
    """Whether a manifest has the artifact type of a split archive."""
    return strict_json.load(data, "a manifest").get("artifactType") == SPLIT


def read(data: bytes, where: str) -> Sequence[Descriptor]:
    """Return the parts in their order; raises `IntegrityError` for another manifest."""
    *parts, config = artifact.blobs(data, where)
    if config.digest != EMPTY.digest or not parts or any(part.media_type != PART for part in parts):
        raise IntegrityError(f"{where}: the manifest names blobs of a media type that a split archive does not have")
    return parts


def bundle(data: bytes, where: str) -> Digest:
    """Return the digest of the bundle in the archive, as the manifest records it."""
    annotations = strict_json.load(data, where).get("annotations")
    return Digest.parse(annotations.get(BUNDLE_DIGEST) if isinstance(annotations, dict) else None)


def part_size(wanted: int, files: Iterable[int]) -> int:
    """Bytes of a part so that the manifest of files of such sizes stays below 1 MiB: what is wanted, or a multiple."""
    sizes = list(files)
    size = wanted
    while sum(-(-length // size) for length in sizes) * _ENTRY > _MAX_MANIFEST and size < max(sizes):
        size *= 2
    return size
