"""The ``index.json`` of layouts and archives (OCI image spec, image-layout.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from bundler.errors import BusyError, IntegrityError, NotFoundError, StoreError
from bundler.format import artifact, delta_manifest, strict_json
from bundler.format.artifact import BUNDLE, INDEX, MANIFEST, REF_NAME
from bundler.format.content import Descriptor, Digest
from bundler.format.delta_manifest import DELTA
from bundler.ports import Named

LAYOUT_FILE = "oci-layout"
LAYOUT_VERSION = "1.0.0"
LAYOUT_CONTENT = b'{"imageLayoutVersion":"1.0.0"}'
INDEX_FILE = "index.json"

_KEYS = frozenset({"schemaVersion", "mediaType", "artifactType", "manifests", "subject", "annotations"})


def blob_path(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def blob(name: str, size: int) -> Descriptor | None:
    """Return the blob of a file name in a layout; None for other files."""
    algorithm, _, hexadecimal = name.removeprefix("blobs/").partition("/")
    with suppress(IntegrityError):
        descriptor = Descriptor("application/octet-stream", Digest.parse(f"{algorithm}:{hexadecimal}"), size)
        return descriptor if name == blob_path(descriptor.digest) else None
    return None


def check_layout(data: bytes, where: str) -> None:
    """Raises `IntegrityError` for an ``oci-layout`` of another version."""
    found = strict_json.load(data, f"{where}: {LAYOUT_FILE}").get("imageLayoutVersion")
    if found != LAYOUT_VERSION:
        raise IntegrityError(
            f"{where}: the layout has the version {str(found)[:40]!r}, not {LAYOUT_VERSION}",
            hint=f"Copy the bundle with a tool that writes version {LAYOUT_VERSION}, such as skopeo.",
        )


def read(data: bytes, where: str) -> list[Named]:
    """Return the named and unnamed manifests of an index; raises `IntegrityError`."""
    content = strict_json.load(data, f"{where}: index.json")
    # skopeo omits the index's mediaType and a descriptor's artifactType; a wrong one is an error.
    if content.get("schemaVersion") != 2 or content.get("mediaType", INDEX) != INDEX or {"layers", "config"} & content.keys():
        raise IntegrityError(f"{where}: index.json is not an OCI image index")
    manifests = content.get("manifests")
    if not isinstance(manifests, list):
        raise IntegrityError(f"{where}: index.json has no list of manifests")
    strict_json.check_spelling(content, _KEYS, f"{where}: index.json")
    descriptors = [Descriptor.from_json(manifest) for manifest in manifests]
    if any(item.artifact_type in (BUNDLE, DELTA) and item.media_type != MANIFEST for item in descriptors):
        raise IntegrityError(f"{where}: index.json has a bundle that is not a manifest")
    return [_named(item) for item in descriptors if item.media_type == MANIFEST]


def images(data: bytes, where: str) -> list[Named]:
    """Return the entries that `read` skips, such as image indexes."""
    descriptors = [Descriptor.from_json(entry) for entry in strict_json.load(data, where)["manifests"]]
    return [_named(descriptor) for descriptor in descriptors if descriptor.media_type != MANIFEST]


def foreign(data: bytes, where: str) -> list[str]:
    """Return the digests of the entries that `read` skips."""
    return [str(item.manifest.digest) for item in images(data, where)]


def write(named: Iterable[Named]) -> bytes:
    """Write an index of bundles (named) and referrers (unnamed)."""
    return _dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": [_entry(item) for item in named]})


def edit(data: bytes, remove: Callable[[Named], bool], add: Iterable[Named], where: str, *, also_images: bool = False) -> bytes:
    """Remove and add manifests of an index; entries of other tools stay unchanged, except ``also_images`` that `images` returns."""
    removed = [item for item in [*read(data, where), *(images(data, where) if also_images else ())] if remove(item)]
    content = strict_json.load(data, where)
    kept = [entry for entry in content["manifests"] if _named(Descriptor.from_json(entry)) not in removed]
    content["manifests"] = kept + [_entry(item) for item in add]
    return _dump(content)


def find(data: bytes, name: str, digest: Digest | None, where: str) -> Descriptor:
    """Find a manifest in an index: by digest, by name, or the only one.

    Raises `NotFoundError`, and `IntegrityError` for an image or another artifact.
    """
    return find_in(read(data, where), data, name, digest, where)


def find_in(named: Sequence[Named], data: bytes, name: str, digest: Digest | None, where: str) -> Descriptor:
    """Do as `find`, where ``named`` is the index already read."""

    def matches(item: Named) -> bool:
        return item.manifest.digest == digest if digest else item.name == name if name else True

    matching = [item for item in named if matches(item)]
    bundles = [item for item in matching if item.manifest.artifact_type in ("", BUNDLE, DELTA)]  # without signatures
    found = {item.manifest.digest: item.manifest for item in bundles}
    if len(found) == 1:
        return next(iter(found.values()))
    if found and name:
        raise IntegrityError(f"{where}: the index has several bundles with this name")
    if others := [item for item in matching if item.name and item not in bundles]:
        raise IntegrityError(f"{where}: {others[0].name!r} is not a bundle in the index, but {others[0].manifest.artifact_type!r}")
    if not found and (image := next(filter(matches, images(data, where)), None)):
        artifact.check_media_type(image.manifest, where)
    names = ", ".join(sorted({item.name for item in named if item.name})[:20])
    if found:
        raise NotFoundError(f"{where} has several bundles: name required", hint=f"Name one of: {names}")
    raise NotFoundError(f"{where}: no such bundle", hint=f"Available: {names}" if names else "There is no bundle in it.")


def find_image(data: bytes, name: str, digest: Digest | None, where: str) -> Descriptor:
    """Find a manifest or an index of images: by digest, by name, or the only image; raises `NotFoundError`.

    What has the digest or the name is returned whatever it is.
    """
    named = [*read(data, where), *images(data, where)]
    found = {item.manifest.digest: item.manifest for item in named if _is_wanted(item, name, digest)}
    if len(found) == 1:
        return next(iter(found.values()))
    names = ", ".join(sorted({item.name for item in named if item.name})[:20])
    if found:
        raise NotFoundError(f"{where} has several images: name required", hint=f"Name one of: {names}")
    raise NotFoundError(f"{where}: no such image", hint=f"Available: {names}" if names else "There is no image in it.")


def _is_wanted(item: Named, name: str, digest: Digest | None) -> bool:
    if digest or name:
        return item.manifest.digest == digest if digest else item.name == name
    return item.manifest.artifact_type in ("", artifact.IMAGE_CONFIG, artifact.DOCKER_CONFIG)


def as_image(manifest: Descriptor) -> Descriptor:
    """Return the descriptor of an image for an index: its artifact type is the media type of its config (OCI, descriptor.md)."""
    is_marked = manifest.media_type != MANIFEST or manifest.artifact_type
    return manifest if is_marked else replace(manifest, artifact_type=artifact.IMAGE_CONFIG)


def referrers(
    named: Sequence[Named], manifest: Descriptor, read_manifest: Callable[[Descriptor], bytes], where: str
) -> list[Descriptor]:
    """Return the unnamed manifests that refer to a manifest."""
    unnamed = [item.manifest for item in named if not item.name]
    others = {manifest.digest: manifest for manifest in unnamed if manifest.artifact_type not in (BUNDLE, DELTA)}
    return [other for other in others.values() if artifact.subject(read_manifest(other), where) == manifest.digest]


def subjects(named: Iterable[Named], read_manifest: Callable[[Descriptor], bytes], where: str) -> set[Digest]:
    """Return the manifests to which a referrer can refer: those of an index, and the targets of its readable deltas."""
    found = set()
    for item in named:
        found.add(item.manifest.digest)
        if item.manifest.artifact_type in ("", DELTA):
            with suppress(IntegrityError):
                data = read_manifest(item.manifest)
                found |= {delta_manifest.read(data, where).target} if delta_manifest.is_delta(data) else set()
    return found


def check_digest(manifest: Descriptor, wanted: Digest | None, where: str) -> None:
    """Raises `StoreError` when the written manifest has another digest than the reference."""
    if wanted and manifest.digest != wanted:
        raise StoreError(f"cannot write {manifest.digest} to {where}: its digest differs", hint="Write to a tag.")


def check_unmoved(now: Descriptor | None, before: Descriptor | None, where: str) -> None:
    """Raises `BusyError` when a name refers to something else than when the work began."""
    if (now and now.digest) != (before and before.digest):
        raise BusyError(
            f"{where}: another process moved this name to {now.digest if now else 'nothing'} while the image was made",
            hint="Check what is there now, then run the same command again.",
        )


def _named(descriptor: Descriptor) -> Named:
    return Named(descriptor.annotations.get(REF_NAME, ""), descriptor)


def _entry(item: Named) -> dict[str, Any]:
    if not item.name:
        return item.manifest.to_json()
    annotations = {**item.manifest.annotations, REF_NAME: item.name}
    kind = item.manifest.artifact_type or (BUNDLE if item.manifest.media_type == MANIFEST else "")
    return replace(item.manifest, artifact_type=kind, annotations=annotations).to_json()


def _dump(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"
