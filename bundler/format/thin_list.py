"""The bundles that the destination already has; a thin archive leaves out their blobs (docs/spec/format.md, "Thin archive")."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bundler.errors import UsageError
from bundler.format import strict_json
from bundler.format.content import Digest

MEDIA_TYPE = "application/vnd.fps.bundle.have.v1+json"
NEEDS = "fps.bundle.needs"
"""Annotation of a bundle's descriptor in ``index.json``: a line ``DIGEST NAME`` for each bundle that has omitted blobs."""


@dataclass(frozen=True)
class Had:
    """A bundle that the destination has: its name there and its blobs."""

    name: str
    digest: Digest
    blobs: frozenset[Digest] = frozenset()

    def __str__(self) -> str:
        return f"{self.name} ({self.digest})"


def write(bundles: Sequence[Had]) -> bytes:
    """Write the list; raises `UsageError` when it is too large for `read`."""
    entries = [{"name": it.name, "digest": str(it.digest), "blobs": sorted(map(str, it.blobs))} for it in bundles]
    content = {"schemaVersion": 1, "mediaType": MEDIA_TYPE, "bundles": entries}
    data = json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"
    if len(data) > strict_json.MAX_SIZE:
        raise UsageError(
            f"the list would be longer than {strict_json.MAX_SIZE} bytes", hint="Remove old bundles: fps-bundle prune."
        )
    return data


def read(data: bytes, what: str) -> list[Had]:
    """Read a list; raises `IntegrityError` for an invalid one."""
    from bundler.format import schema  # slow to load, and not needed to write a list

    content = schema.load(data, "have.v1", what)
    return [
        Had(item["name"], Digest.parse(item["digest"]), frozenset(map(Digest.parse, item["blobs"]))) for item in content["bundles"]
    ]


def annotation(bundles: Sequence[Had]) -> str:
    """The annotation that lists the bundles that a thin bundle needs."""
    return "\n".join(f"{it.digest} {it.name}" for it in bundles)


def needed(text: str) -> list[Had]:
    """The bundles that an annotation names; raises `IntegrityError`."""
    pairs = [line.partition(" ") for line in text.split("\n") if line]
    return [Had(name, Digest.parse(digest)) for digest, _, name in pairs]
