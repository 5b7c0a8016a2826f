"""Ordinary container images: their manifests, indexes and configs, in OCI's and Docker's media types.

Sources: OCI image spec 1.1, manifest.md, image-index.md and config.md; Docker image manifest version 2, schema 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bundler.errors import BaseMismatchError, IntegrityError, Mismatch, StoreError
from bundler.format import artifact, strict_json
from bundler.format.content import Descriptor, Digest
from bundler.format.metadata import Platform

LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"

IMAGE_MANIFESTS = (artifact.MANIFEST, artifact.DOCKER_MANIFEST)
IMAGE_INDEXES = (artifact.INDEX, artifact.DOCKER_LIST)

_DOCKER = "application/vnd.docker.image.rootfs"
_OCI_LAYERS = {
    artifact.LAYER_PLAIN: artifact.LAYER_PLAIN,
    LAYER_GZIP: LAYER_GZIP,
    artifact.LAYER: artifact.LAYER,
    f"{_DOCKER}.diff.tar": artifact.LAYER_PLAIN,
    f"{_DOCKER}.diff.tar.gzip": LAYER_GZIP,
    f"{_DOCKER}.diff.tar.zstd": artifact.LAYER,
}
"""The media type of a layer in an OCI manifest, by the one that it has in its manifest."""

_KEYS = frozenset({"schemaVersion", "mediaType", "artifactType", "config", "layers", "subject", "annotations"})
_INDEX_KEYS = frozenset({"schemaVersion", "mediaType", "artifactType", "manifests", "subject", "annotations"})
_OTHER_KINDS = frozenset({"manifests", "fslayers", "signatures", "history"})
_CONFIG_KEYS = frozenset({"os", "architecture", "variant", "config", "rootfs", "created"})


@dataclass(frozen=True)
class ImageManifest:
    """The manifest of an image as stored, with the config and the layers that it names."""

    descriptor: Descriptor
    data: bytes
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """All blobs in the order in which they are transferred."""
        return (*self.layers, self.config)


@dataclass(frozen=True)
class ImageConfig:
    """The fields of an image's config that describe its content and how it is run."""

    platform: Platform
    diff_ids: tuple[Digest, ...]
    settings: Mapping[str, Any]
    """The ``config`` object, which may be empty."""

    @property
    def labels(self) -> Mapping[str, str]:
        return self.settings.get("Labels") or {}


def read_manifest(media_type: str, data: bytes, where: str) -> ImageManifest:
    """Read the manifest of an image; raises `IntegrityError` for an artifact of another kind, and for an ambiguous document."""
    content = strict_json.load(data, f"{where}: the manifest")
    named = content.get("mediaType", media_type)
    if content.get("schemaVersion") != 2 or named != media_type or media_type not in IMAGE_MANIFESTS:
        raise IntegrityError(f"{where}: this is no image manifest but {str(named)[:100]!r}")
    if _OTHER_KINDS & {key.casefold() for key in content}:
        raise IntegrityError(f"{where}: the manifest is also an index")
    strict_json.check_spelling(content, _KEYS, f"{where}: the manifest")
    config, layers = Descriptor.from_json(content.get("config")), content.get("layers")
    if config.media_type not in (artifact.IMAGE_CONFIG, artifact.DOCKER_CONFIG):
        raise IntegrityError(
            f"{where}: this is no image, but an artifact of type {str(content.get('artifactType') or config.media_type)[:100]!r}"
        )
    if not isinstance(layers, list):
        raise IntegrityError(f"{where}: the manifest has no layers")
    return ImageManifest(Descriptor.of(media_type, data), data, config, tuple(map(Descriptor.from_json, layers)))


def read_config(data: bytes, where: str) -> ImageConfig:
    """Read the config of an image; raises `IntegrityError` where a field is missing or of the wrong type."""
    content = strict_json.load(data, f"{where}: the config")
    strict_json.check_spelling(content, _CONFIG_KEYS, f"{where}: the config")
    root, settings = content.get("rootfs"), content.get("config") or {}
    diff_ids = root.get("diff_ids") if isinstance(root, dict) else None
    if not isinstance(diff_ids, list) or not isinstance(settings, dict):
        raise IntegrityError(f"{where}: the config does not list the layers of an image")
    labels = settings.get("Labels") or {}
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise IntegrityError(f"{where}: the labels in the config are not strings")
    return ImageConfig(_platform(content, f"{where}: the config"), tuple(map(Digest.parse, diff_ids)), settings)


def pick(data: bytes, platform: Platform, where: str) -> Descriptor:
    """Return the manifest for a platform in an index; raises `BaseMismatchError` when the index has none."""
    content = strict_json.load(data, f"{where}: the index")
    strict_json.check_spelling(content, _INDEX_KEYS, f"{where}: the index")
    entries = content.get("manifests")
    if content.get("schemaVersion") != 2 or not isinstance(entries, list) or {"layers", "config"} & content.keys():
        raise IntegrityError(f"{where}: this is no index of images")
    found = [(_entry_platform(entry, where), Descriptor.from_json(entry)) for entry in entries]
    fitting = [item for item in found if item[0] and _is_for(item[0], platform) and item[1].media_type in IMAGE_MANIFESTS]
    if not fitting:
        offered = ", ".join(dict.fromkeys(str(item[0]) for item in found if item[0] and item[0].os != "unknown"))
        raise BaseMismatchError(
            f"{where} has no image for {platform}",
            mismatches=[Mismatch("platform", str(platform), offered[:200] or "none")],
            hint="Copy the base with all of its platforms, or name another one with --base.",
        )
    return min(fitting, key=lambda item: item[0] != platform)[1]


def build_manifest(config: bytes, layers: Sequence[Descriptor]) -> ImageManifest:
    """The OCI manifest of an image; its bytes depend only on the config and the layers."""
    content = {
        "schemaVersion": 2,
        "mediaType": artifact.MANIFEST,
        "config": Descriptor.of(artifact.IMAGE_CONFIG, config).to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    data = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
    return read_manifest(artifact.MANIFEST, data, "the new image")


def oci_layer(layer: Descriptor, where: str) -> Descriptor:
    """The descriptor of a base's layer for an OCI manifest: the same blob, with the media type that OCI has for it.

    Raises `StoreError` for a layer that may not be distributed, and for a media type that is no layer.
    """
    if media_type := _OCI_LAYERS.get(layer.media_type):
        return replace(layer, media_type=media_type, artifact_type="")
    if "foreign" in layer.media_type or "nondistributable" in layer.media_type:
        raise StoreError(
            f"{where}: the layer {layer.digest} is not distributed with the image ({layer.media_type[:100]})",
            hint="Push the base with all of its layers, and name that copy with --base.",
        )
    raise StoreError(
        f"{where}: the layer {layer.digest} has the media type {layer.media_type[:100]!r}, which is no image layer",
        hint="Name an ordinary image with --base.",
    )


def _entry_platform(entry: object, where: str) -> Platform | None:
    """The platform of an entry of an index, if it has one."""
    if not isinstance(entry, dict) or "platform" not in entry:
        return None
    if not isinstance(entry["platform"], dict):
        raise IntegrityError(f"{where}: the platform of an image in the index is no object")
    return _platform(entry["platform"], f"{where}: the index")


def _platform(content: Mapping[str, Any], what: str) -> Platform:
    system, architecture, variant = (content.get(key) or "" for key in ("os", "architecture", "variant"))
    if not all(isinstance(part, str) and len(part) < 100 for part in (system, architecture, variant)):
        raise IntegrityError(f"{what} has no valid platform")
    return Platform(os=system, architecture=architecture, variant=variant or None)


def _is_for(offered: Platform, wanted: Platform) -> bool:
    same = (offered.os, offered.architecture) == (wanted.os, wanted.architecture)
    return same and (None in (offered.variant, wanted.variant) or offered.variant == wanted.variant)
