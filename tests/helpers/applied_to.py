"""Write the image of a bundle into a layout or an archive, and read what was written."""

from __future__ import annotations

import json
from typing import Any

from applied import UNCONFIGURED
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, Tree

from bundler.api import images as api
from bundler.api.stores import StoreOptions
from bundler.format import oci_image
from bundler.format.oci_image import ImageManifest
from bundler.trust.admission import Admission
from bundler.verbs.apply_to import ApplyToOptions, ApplyToResult


def of(files: Tree | None = None, **changes: Any) -> MemoryStore:
    store = MemoryStore()
    bundle(store, files, **changes)
    return store


def apply(
    source: MemoryStore,
    to: str,
    base: str | None,
    admission: Admission = UNCONFIGURED,
    progress: RecordingProgress | None = None,
    **options: Any,
) -> ApplyToResult:
    return api.apply_to(
        source, to, base=base, admission=admission, options=ApplyToOptions(**options), progress=progress or RecordingProgress()
    )


def image_at(reference: str) -> tuple[ImageManifest, dict[str, Any], list[bytes]]:
    """An image that was written: manifest, config, and the content of its blobs, all verified."""
    store = api.open_images(api.parse_destination(reference), StoreOptions())
    descriptor = store.resolve_image()
    manifest = oci_image.read_manifest(descriptor.media_type, store.manifest(descriptor), reference)
    content = []
    for blob in manifest.blobs:
        with store.open(blob) as stream:
            content.append(b"".join(iter(lambda stream=stream: stream.read(1 << 20), b"")))  # type: ignore[misc]
    return manifest, json.loads(content[-1]), content[:-1]
