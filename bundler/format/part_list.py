"""The list of the parts of a split archive, ``FILE.parts`` (docs/spec/format.md, "Split archive")."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bundler.errors import IntegrityError, UsageError
from bundler.format import schema
from bundler.format.content import Digest

MEDIA_TYPE = "application/vnd.fps.bundle.parts.v1+json"
SUFFIX = ".parts"
MIN_PART = 64 << 10
"""Smallest part in bytes."""
MAX_PARTS = 10_000


@dataclass(frozen=True)
class Part:
    """One part of an archive: its number, from 1, the name of its file, its offset and its size in bytes."""

    number: int
    name: str
    offset: int
    size: int
    digest: Digest


@dataclass(frozen=True)
class PartList:
    """The parts of the archive of a bundle: all of ``part_size`` bytes but the last, and of ``size`` together."""

    bundle: Digest
    size: int
    part_size: int
    parts: tuple[Part, ...]

    @property
    def stem(self) -> str:
        """The name of the archive that was split."""
        return self.parts[0].name.removesuffix(".001")

    def to_bytes(self) -> bytes:
        content = {
            "schemaVersion": 1,
            "mediaType": MEDIA_TYPE,
            "bundle": str(self.bundle),
            "size": self.size,
            "partSize": self.part_size,
            "parts": [{"name": part.name, "size": part.size, "digest": str(part.digest)} for part in self.parts],
        }
        return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, what: str) -> PartList:
        """Read a list; raises `IntegrityError` for one whose parts cannot make up one archive."""
        content = schema.load(data, "parts.v1", what)
        found, size, part_size = content["parts"], content["size"], content["partSize"]
        if not type(size) is type(part_size) is int or len(cuts(size, part_size)) != len(found):
            raise IntegrityError(f"{what} is damaged: its parts do not make up the archive")
        stem = found[0]["name"].removesuffix(".001")
        digests = [Digest.parse(part["digest"]) for part in found]
        listed = cls.of(Digest.parse(content["bundle"]), stem, size, part_size, digests)
        if [(part.name, part.size) for part in listed.parts] != [(part["name"], part["size"]) for part in found]:
            raise IntegrityError(f"{what} is damaged: its parts do not have the names and sizes of the parts of one archive")
        return listed

    @classmethod
    def of(cls, bundle: Digest, stem: str, size: int, part_size: int, digests: Sequence[Digest]) -> PartList:
        """Build the list of a split archive from the digests of its parts."""
        parts = [
            Part(number, f"{stem}.{number:03}", offset, min(part_size, size - offset), digest)
            for number, (offset, digest) in enumerate(zip(cuts(size, part_size), digests, strict=True), 1)
        ]
        return cls(bundle, size, part_size, tuple(parts))


def cuts(size: int, part_size: int) -> range:
    """The offsets at which the parts of an archive begin."""
    return range(0, size, part_size)


def check_part_size(part_size: int, size: int = 0) -> None:
    """Raises `UsageError` for parts that are too small, by themselves or for an archive of ``size`` bytes."""
    if part_size < MIN_PART:
        raise UsageError(f"parts of {part_size} bytes are too small", hint=f"The smallest is {MIN_PART} bytes, 64KiB.")
    if len(cuts(size, part_size)) > MAX_PARTS:
        raise UsageError(
            f"an archive of {size} bytes would have more than {MAX_PARTS} parts of {part_size} bytes", hint="Name a larger size."
        )
