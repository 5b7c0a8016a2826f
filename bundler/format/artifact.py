"""The manifest of a bundle (OCI image spec 1.1, manifest.md) and the media types in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bundler.errors import IntegrityError
from bundler.format import strict_json
from bundler.format.content import Descriptor, Digest

if TYPE_CHECKING:
    from bundler.format.metadata import Metadata

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
BUNDLE = "application/vnd.fps.bundle.v1"
CONFIG = "application/vnd.fps.bundle.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
LAYER_PLAIN = "application/vnd.oci.image.layer.v1.tar"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFESTS = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST)
"""All manifest types to accept; for other types a registry converts the manifest or reports that it does not exist."""
_IMAGES = {INDEX: "an index of images", DOCKER_LIST: "an index of images", DOCKER_MANIFEST: "an image"}

_KEYS = frozenset({"schemaVersion", "mediaType", "artifactType", "config", "layers", "subject", "annotations"})
_OTHER_KINDS = frozenset({"manifests", "fslayers", "signatures", "history"})
"""Keys that make some parsers read a manifest as an index or a Docker schema 1 manifest (CVE-2021-41190)."""

REF_NAME = "org.opencontainers.image.ref.name"
TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
VENDOR = "org.opencontainers.image.vendor"
CREATED = "org.opencontainers.image.created"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"


@dataclass(frozen=True)
class Manifest:
    """A manifest as stored: its exact bytes and its parsed fields."""

    descriptor: Descriptor
    data: bytes
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    artifact_type: str

    @property
    def size(self) -> int:
        """Bytes of the whole bundle as stored and transferred."""
        return len(self.data) + self.config.size + sum(layer.size for layer in self.layers)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """All blobs in the order in which they are transferred."""
        return (*self.layers, self.config)


@dataclass(frozen=True)
class Referrer:
    """A manifest that refers to a bundle, such as a signature: its exact bytes, its blobs and its subject."""

    descriptor: Descriptor
    data: bytes
    blobs: tuple[Descriptor, ...]
    subject: Digest


def manifest_annotations(metadata: Metadata) -> dict[str, str]:
    """The annotations that repeat the metadata, for tools that do not read the config."""
    base = metadata.base
    digests = sorted(name.partition("@")[2] for name in base.repo_digests)
    found = {
        CREATED: metadata.created,
        TITLE: metadata.model.title,
        VERSION: metadata.model.version,
        VENDOR: metadata.model.vendor,
        BASE_NAME: base.names[0] if base.names else None,
        BASE_DIGEST: digests[0] if digests else None,
    }
    return {key: value for key, value in found.items() if value}


def build(metadata: Metadata, config: Descriptor, layers: Sequence[Descriptor]) -> Manifest:
    """The manifest of a bundle."""
    content = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": BUNDLE,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
        "annotations": manifest_annotations(metadata),
    }
    return read(json.dumps(content, separators=(",", ":"), sort_keys=True).encode(), "the new bundle")


def read(data: bytes, where: str) -> Manifest:
    """Read a bundle's manifest; raises `IntegrityError` for anything else than a bundle, and for an ambiguous document."""
    content = _read_manifest(data, where)
    artifact_type = content.get("artifactType")
    config, layers = _read_blobs(content, where)
    if artifact_type is None and config.media_type in (IMAGE_CONFIG, DOCKER_CONFIG):
        raise no_bundle(where, "an image")
    if artifact_type != BUNDLE:
        raise no_bundle(where, f"an artifact of type {str(artifact_type)[:100]!r}")
    if has_content_elsewhere(content):
        raise IntegrityError(f"{where}: the manifest has a blob with `urls` or `data`, which a bundle must not have")
    if config.media_type != CONFIG or any(layer.media_type != LAYER for layer in layers):
        raise IntegrityError(f"{where}: the manifest names blobs of a media type that a bundle does not have")
    given = content.get("annotations", {})
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise IntegrityError(f"{where}: the manifest's annotations are not strings")
    return Manifest(Descriptor.of(MANIFEST, data), data, config, layers, given, artifact_type)


def has_content_elsewhere(content: Mapping[str, Any]) -> bool:
    """Whether a manifest has a blob with ``urls`` or ``data``: other programs could read other content than its store has."""
    return any({"urls", "data"} & blob.keys() for blob in (content["config"], *content["layers"]))


def check_media_type(manifest: Descriptor, where: str) -> None:
    """Raise `IntegrityError` unless a manifest is an OCI image manifest, as that of a bundle is."""
    if manifest.media_type != MANIFEST:
        raise no_bundle(where, _IMAGES.get(manifest.media_type, f"of media type {manifest.media_type[:100]!r}"))


def no_bundle(where: str, kind: str) -> IntegrityError:
    """The error for a manifest of another kind than a bundle."""
    return IntegrityError(f"{where}: this is {kind}, not a bundle", hint="Name a bundle that `fps-bundle push` made.")


def read_referrer(data: bytes, where: str) -> Referrer:
    """Read a manifest that refers to another (OCI image spec 1.1, manifest.md, ``subject``); raises `IntegrityError`."""
    content = _read_manifest(data, where)
    subject = Descriptor.from_json(content.get("subject"))
    config, layers = _read_blobs(content, where)
    artifact_type = content.get("artifactType") or config.media_type
    if not isinstance(artifact_type, str):
        raise IntegrityError(f"{where}: the artifact type of a referrer is no string")
    descriptor = replace(Descriptor.of(MANIFEST, data), artifact_type=artifact_type)
    return Referrer(descriptor, data, (*layers, config), subject.digest)


def blobs(data: bytes, where: str) -> tuple[Descriptor, ...]:
    """All blobs that an image manifest of any kind names; raises `IntegrityError`."""
    config, layers = _read_blobs(_read_manifest(data, where), where)
    return (*layers, config)


def subject(data: bytes, where: str) -> Digest | None:
    """The subject of an image manifest, if it has one; raises `IntegrityError`."""
    content = _read_manifest(data, where)
    return Descriptor.from_json(content["subject"]).digest if "subject" in content else None


def is_bundle(data: bytes) -> bool:
    """Whether a manifest has the artifact type of a bundle; it can still be invalid."""
    return strict_json.load(data, "a manifest").get("artifactType") == BUNDLE


def _read_manifest(data: bytes, where: str) -> dict[str, Any]:
    content = strict_json.load(data, f"{where}: the manifest")
    if content.get("schemaVersion") != 2 or content.get("mediaType") != MANIFEST:
        raise IntegrityError(f"{where}: this is no OCI image manifest but {str(content.get('mediaType'))[:100]!r}")
    if _OTHER_KINDS & {key.casefold() for key in content}:
        raise IntegrityError(f"{where}: the manifest is also an index")
    strict_json.check_spelling(content, _KEYS, f"{where}: the manifest")
    return content


def _read_blobs(content: dict[str, Any], where: str) -> tuple[Descriptor, tuple[Descriptor, ...]]:
    layers = content.get("layers")
    if not isinstance(layers, list):
        raise IntegrityError(f"{where}: the manifest has no layers")
    return Descriptor.from_json(content.get("config")), tuple(Descriptor.from_json(layer) for layer in layers)
