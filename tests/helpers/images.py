"""Small ordinary images for tests, in layouts, archives and registries."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from fakes import PLATFORM

from bundler.format import artifact
from bundler.format.content import Descriptor, Digest
from bundler.format.metadata import Platform
from bundler.format.oci_image import LAYER_GZIP
from bundler.stores.layout import index

BASE_LAYERS = (b"layer 0", b"layer 1")
"""The content of the layers of `bundles.BASE`."""
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass
class OrdinaryImage:
    """An image as some other tool wrote it: its manifest or index, and all blobs and manifests by their digests."""

    media_type: str
    data: bytes
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    manifests: dict[Digest, tuple[str, bytes]] = field(default_factory=dict)

    @property
    def digest(self) -> Digest:
        return Digest.of(self.data)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor.of(self.media_type, self.data)


def made(
    layers: Sequence[bytes] = BASE_LAYERS,
    *,
    platform: Platform = PLATFORM,
    docker: bool = False,
    layer_type: str = "",
    labels: dict[str, str] | None = None,
    settings: dict[str, Any] | None = None,
    **changes: Any,
) -> OrdinaryImage:
    """An image of these layers, compressed with gzip; ``changes`` are further keys of its manifest."""
    diff_ids = [str(Digest.of(layer)) for layer in layers]
    config = {
        **_without_none(platform),
        "config": settings or {"Cmd": ["serve"], "Env": ["A=1"], "Labels": labels or {artifact.TITLE: "Model"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "created": "2026-01-01T00:00:00Z",
    }
    blobs = [gzip.compress(layer, mtime=0) for layer in layers]
    kind = layer_type or (DOCKER_LAYER if docker else LAYER_GZIP)
    described = [Descriptor.of(kind, blob).to_json() for blob in blobs]
    text = json.dumps(config).encode()
    media_type = artifact.DOCKER_MANIFEST if docker else artifact.MANIFEST
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": Descriptor.of(artifact.DOCKER_CONFIG if docker else artifact.IMAGE_CONFIG, text).to_json(),
        "layers": described,
        **changes,
    }
    return OrdinaryImage(media_type, json.dumps(manifest).encode(), {Digest.of(blob): blob for blob in (*blobs, text)})


def indexed(*images: tuple[OrdinaryImage, Platform], docker: bool = False) -> OrdinaryImage:
    """An index of images by platform."""
    entries = [
        {**image.descriptor.to_json(), "platform": {k: v for k, v in platform.model_dump().items() if v}}
        for image, platform in images
    ]
    media_type = artifact.DOCKER_LIST if docker else artifact.INDEX
    data = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode()
    blobs = {digest: blob for image, _ in images for digest, blob in image.blobs.items()}
    return OrdinaryImage(media_type, data, blobs, {image.digest: (image.media_type, image.data) for image, _ in images})


def in_layout(path: Path, image: OrdinaryImage, name: str = "1") -> str:
    """Write an image into a new layout; gives its reference."""
    folder = path / "blobs" / "sha256"
    folder.mkdir(parents=True)
    files = {**image.blobs, **{digest: data for digest, (_, data) in image.manifests.items()}, image.digest: image.data}
    for digest, data in files.items():
        (folder / digest.hex).write_bytes(data)
    entry = {**image.descriptor.to_json(), "annotations": {artifact.REF_NAME: name}}
    (path / index.INDEX_FILE).write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (path / index.LAYOUT_FILE).write_bytes(index.LAYOUT_CONTENT)
    return f"oci:{path}:{name}"


def in_archive(path: Path, image: OrdinaryImage, name: str = "1") -> str:
    """Write an image into a new archive; gives its reference."""
    layout = path.with_suffix(".layout")
    in_layout(layout, image, name)
    with tarfile.open(path, "w") as archive:
        for file in sorted(layout.rglob("*")):
            archive.add(file, str(file.relative_to(layout)), recursive=False)
    return f"oci-archive:{path}:{name}"


def in_registry(address: str, repository: str, image: OrdinaryImage, tag: str = "1") -> str:
    """Push an image to a registry; gives its reference."""
    place = f"http://{address}/v2/{repository}"
    for digest, data in image.blobs.items():
        location = requests.post(f"{place}/blobs/uploads/", timeout=60).headers["Location"]
        requests.put(location, params={"digest": str(digest)}, data=data, timeout=60).raise_for_status()
    for name, (media_type, data) in {**image.manifests, tag: (image.media_type, image.data)}.items():
        headers = {"Content-Type": media_type}
        requests.put(f"{place}/manifests/{name}", data=data, headers=headers, timeout=60).raise_for_status()
    return f"{address}/{repository}:{tag}"


def _without_none(platform: Platform) -> dict[str, str]:
    return {key: value for key, value in platform.model_dump().items() if value}
