"""Build the configuration of a new image from the base's configuration and a bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bundler.format.content import Digest
from bundler.format.metadata import Ancestor, Base, Metadata, Platform

SETTINGS = (
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
)
"""The settings of an image that a bundle restores (OCI image spec, config.md; Healthcheck is Docker's)."""

_KEPT = (*SETTINGS, "ArgsEscaped", "OnBuild", "Shell", "StopTimeout")

LABEL_PREFIX = "fps.bundle."
LABEL_DIGEST = LABEL_PREFIX + "digest"
LABEL_CHAIN_ID = LABEL_PREFIX + "base.chain-id"
LABEL_BASE_NAME = LABEL_PREFIX + "base.name"
LABEL_BASE_LAYERS = LABEL_PREFIX + "base.layers"
LABEL_MATCH = LABEL_PREFIX + "base.match"
"""``version`` in an image whose base has the recorded version, but other content."""

LABEL_INGESTED = LABEL_PREFIX + "ingested-from"
"""In an image made by Ingest: the container or bundle that the files came from."""

LABEL_LINEAGE = LABEL_PREFIX + "lineage"
LABEL_IMAGE_LAYERS = LABEL_PREFIX + "image.layers"

LABEL_TRUST = LABEL_PREFIX + "trust"
"""``skipped`` in an image of a bundle whose signatures were not checked (`--insecure-ignore-signatures`), and in images that ingest
from it."""

LABEL_DOWNGRADE = LABEL_PREFIX + "downgrade"
"""The reason for a downgrade (`--allow-downgrade`)."""

NO_MARKS: Mapping[str, str] = {}
"""The labels of an image for which no check was skipped."""

_LINEAGE = re.compile(r"(sha256:[0-9a-f]{64}@[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z ?)*")


def chain_id(diff_ids: Sequence[Digest]) -> Digest:
    """Return the chain ID of layers (OCI image spec, config.md, "Layer ChainID"); without layers, the digest of no bytes."""
    chain = diff_ids[0] if diff_ids else Digest.of(b"")
    for diff_id in diff_ids[1:]:
        chain = Digest.of(f"{chain} {diff_id}".encode())
    return chain


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in an image's ``config``, without empty fields and our own labels."""
    kept = {key: config[key] for key in _KEPT if config.get(key)}
    if labels := {key: value for key, value in kept.pop("Labels", {}).items() if not key.startswith(LABEL_PREFIX)}:
        kept["Labels"] = labels
    return kept


def clean_layers(labels: Mapping[str, str], diff_ids: Sequence[Digest]) -> int | None:
    """Count the leading layers of an image of ours that are its clean base.

    None for an image without our labels, and for one whose labels describe other layers because it was built
    ``FROM`` ours.
    """
    if labels.get(LABEL_IMAGE_LAYERS) != str(len(diff_ids)):
        return None
    count = labels.get(LABEL_BASE_LAYERS, "")
    if not count.isascii() or not count.isdigit() or int(count) > len(diff_ids):
        return None
    return int(count) if labels.get(LABEL_CHAIN_ID) == str(chain_id(diff_ids[: int(count)])) else None


def is_ours(labels: Mapping[str, str]) -> bool:
    """Whether an image has our labels."""
    return any(label.startswith(LABEL_PREFIX) for label in labels)


def lineage(labels: Mapping[str, str], diff_ids: Sequence[Digest]) -> tuple[Ancestor, ...]:
    """The bundles that an image came from, newest first; none where our labels are missing or invalid."""
    if clean_layers(labels, diff_ids) is None:
        return ()
    line = labels.get(LABEL_LINEAGE, "")
    if not _LINEAGE.fullmatch(line):
        return ()
    pairs = (item.partition("@") for item in line.split())
    return tuple(Ancestor(digest=Digest.parse(digest), created=created) for digest, _, created in pairs)


def clean_config(base: Base) -> bytes:
    """A configuration for the clean base, for use when its image no longer exists."""
    rootfs = {"type": "layers", "diff_ids": [str(diff_id) for diff_id in base.diff_ids]}
    return _canonical({**_platform(base.platform), "config": base.config, "rootfs": rootfs})


def build_config(metadata: Metadata, bundle: Digest, on: Base | None = None, marks: Mapping[str, str] = NO_MARKS) -> bytes:
    """The configuration of the new image; it depends only on the bundle and the command, so its digest is the same on every host.

    ``on`` is another base of the same version that takes the place of the recorded one; the new image
    then has its settings, and those in which the source image differed from the recorded base. ``marks`` are labels that
    record which checks were skipped.
    """
    base = on or metadata.base
    diff_ids = [*base.diff_ids, *(layer.diff_id for layer in metadata.layers)]
    config = restored(metadata, on)
    labels, recorded, wanted = (part.get("Labels", {}) for part in (base.config, metadata.base.config, metadata.image))
    config["Labels"] = _overlay(labels, recorded, wanted, {*recorded, *wanted})
    config["Labels"] |= {**({LABEL_MATCH: "version"} if on else {}), **marks}
    line = (Ancestor(digest=bundle, created=metadata.created), *metadata.lineage)
    config["Labels"] |= {LABEL_DIGEST: str(bundle), **_labels(base, diff_ids, line)}
    return _image(base, diff_ids, config, metadata.created, f"fps-bundle apply {bundle}")


def build_state_only(metadata: Metadata, bundle: Digest) -> bytes:
    """The configuration of an image of a bundle's layers alone, to be mounted; of our labels it has only the bundle's digest."""
    diff_ids = [layer.diff_id for layer in metadata.layers]
    state = metadata.base.model_copy(update={"diff_ids": ()})
    config = {"Labels": {LABEL_DIGEST: str(bundle)}}
    return _image(state, diff_ids, config, metadata.created, f"fps-bundle apply --state-only {bundle}")


def is_state_only(labels: Mapping[str, str]) -> bool:
    """Whether an image has the state of a bundle alone."""
    return [label for label in labels if label.startswith(LABEL_PREFIX)] == [LABEL_DIGEST]


def restored(metadata: Metadata, on: Base | None = None) -> dict[str, Any]:
    """The settings of the new image but for its labels; ``on`` as in `build_config`."""
    return _overlay(_known((on or metadata.base).config), metadata.base.config, metadata.image, SETTINGS)


def build_ingested(
    base: Base,
    diff_ids: Sequence[Digest],
    labels: Mapping[str, str],
    source: str,
    line: Sequence[Ancestor],
    created: str,
    marks: Mapping[str, str] = NO_MARKS,
) -> bytes:
    """The configuration of an image that a model made for itself on a new base, by Ingest.

    ``diff_ids`` are the layers that were committed; ``labels`` are those of the older image, ``source`` says which that was,
    and ``line`` the bundles that it came from. ``marks`` are as in `build_config`. The mark of an unchecked bundle is kept.
    """
    own = {key: value for key, value in labels.items() if not key.startswith((LABEL_PREFIX, "org.opencontainers.image."))}
    config = dict(base.config)
    inherited = {LABEL_TRUST: labels[LABEL_TRUST]} if LABEL_TRUST in labels else {}
    ours = {**inherited, **marks, **_labels(base, diff_ids, line), LABEL_INGESTED: source}
    config["Labels"] = {**own, **base.config.get("Labels", {}), **ours}
    return _image(base, diff_ids, config, created, "fps-bundle ingest")


def _labels(base: Base, diff_ids: Sequence[Digest], line: Sequence[Ancestor]) -> dict[str, str]:
    """The labels that record the clean base of an image of ours and the bundles it came from."""
    return {
        LABEL_CHAIN_ID: str(base.chain_id),
        LABEL_BASE_NAME: base.names[0] if base.names else "",
        LABEL_BASE_LAYERS: str(len(base.diff_ids)),
        LABEL_IMAGE_LAYERS: str(len(diff_ids)),
        LABEL_LINEAGE: " ".join(f"{ancestor.digest}@{ancestor.created}" for ancestor in line),
    }


def _image(base: Base, diff_ids: Sequence[Digest], config: Mapping[str, Any], created: str, made_by: str) -> bytes:
    history = [{"created_by": "base image"} for _ in base.diff_ids]
    history += [{"created": created, "created_by": made_by} for _ in diff_ids[len(base.diff_ids) :]]
    return _canonical(
        {
            **_platform(base.platform),
            "created": created,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [str(diff_id) for diff_id in diff_ids]},
            "history": history,
        }
    )


def _known(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keep only the settings that `settings` keeps: engines read other keys of a bundle's metadata in any letter case."""
    return {key: config[key] for key in _KEPT if key in config}


def _overlay(base: Mapping[str, Any], recorded: Mapping[str, Any], image: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """The settings of a base, changed in the ``keys`` in which an image differs from its recorded base."""
    changed = {key for key in keys if recorded.get(key) != image.get(key)}
    return {key: value for key, value in base.items() if key not in changed} | {key: image[key] for key in changed if key in image}


def _platform(platform: Platform) -> dict[str, str]:
    known = {"os": platform.os, "architecture": platform.architecture, "variant": platform.variant}
    return {key: value for key, value in known.items() if value}


def _canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode()
