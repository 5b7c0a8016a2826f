"""The signed statement about a bundle: an in-toto Statement v1 as canonical JSON (RFC 8785).

The bytes that were signed are kept and verified as they are; a statement that was read is never written again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any

import jsonschema
import rfc8785

from bundler.errors import IntegrityError
from bundler.format import strict_json
from bundler.format.artifact import Manifest
from bundler.format.content import Digest
from bundler.format.metadata import Ancestor, Metadata

MEDIA_TYPE = "application/vnd.in-toto+json"
TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:fps-bundle:statement:v1"
MAX_SEQUENCE = 2**53 - 1
"""The largest whole number that every JSON parser reads exactly (RFC 8785, section 3.2.2.3)."""


@dataclass(frozen=True)
class Statement:
    """The digests of a bundle and the properties that trust policies use; ``size`` is in bytes, uncompressed.

    ``sequence`` orders the bundles of one signer, ``signed`` is when it was signed, by the signer's clock.
    """

    manifest: Digest
    config: Digest
    title: str
    version: str
    data_set_uuid: str | None
    base: tuple[Digest, ...]
    entries: int
    size: int
    created: str
    lineage: tuple[Ancestor, ...]
    sequence: int
    signed: str

    @classmethod
    def of(cls, manifest: Manifest, metadata: Metadata, sequence: int, signed: str) -> Statement:
        """What there is to say of a bundle."""
        return cls(
            manifest=manifest.descriptor.digest,
            config=manifest.config.digest,
            title=metadata.model.title,
            version=metadata.model.version,
            data_set_uuid=metadata.model.data_set_uuid or None,
            base=tuple(metadata.base.diff_ids),
            entries=sum(layer.entries for layer in metadata.layers),
            size=metadata.size,
            created=metadata.created,
            lineage=tuple(Ancestor(digest=it.digest, created=it.created) for it in metadata.lineage),
            sequence=sequence,
            signed=signed,
        )

    def disagreements(self, manifest: Manifest, metadata: Metadata) -> list[str]:
        """The fields in which a bundle is not what this says of it."""
        true = Statement.of(manifest, metadata, self.sequence, self.signed)
        return [field.name for field in fields(self) if getattr(self, field.name) != getattr(true, field.name)]

    def to_bytes(self) -> bytes:
        """The canonical JSON; raises `IntegrityError` for values of a bundle that have none."""
        uuid = {"dataSetUUID": self.data_set_uuid} if self.data_set_uuid else {}
        predicate: dict[str, Any] = {
            "title": self.title,
            "version": self.version,
            **uuid,
            "baseDiffIDs": [str(diff_id) for diff_id in self.base],
            "entries": self.entries,
            "size": self.size,
            "created": self.created,
            "lineage": [{"digest": str(it.digest), "created": it.created} for it in self.lineage],
            "sequence": self.sequence,
            "signed": self.signed,
        }
        subject: list[Any] = [
            {"name": name, "digest": {"sha256": it.hex}} for name, it in (("manifest", self.manifest), ("config", self.config))
        ]
        try:
            return rfc8785.dumps({"_type": TYPE, "subject": subject, "predicateType": PREDICATE_TYPE, "predicate": predicate})
        except ValueError as error:
            raise IntegrityError(f"the bundle cannot be signed, what it says has no canonical JSON: {error}") from error

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Statement:
        """Read a statement; raises `IntegrityError` for one with a field too few, too many or of another form."""
        content = strict_json.load(data, f"{where}: the statement")
        try:
            _validator().validate(content)
        except jsonschema.ValidationError as error:
            raise IntegrityError(f"{where}: the statement breaks its schema at {error.json_path}: {error.message[:200]}") from error
        return cls._from_json(content["subject"], content["predicate"])

    @classmethod
    def _from_json(cls, subject: list[Any], predicate: dict[str, Any]) -> Statement:
        return cls(
            manifest=Digest(subject[0]["digest"]["sha256"]),
            config=Digest(subject[1]["digest"]["sha256"]),
            title=predicate["title"],
            version=predicate["version"],
            data_set_uuid=predicate.get("dataSetUUID"),
            base=tuple(Digest.parse(diff_id) for diff_id in predicate["baseDiffIDs"]),
            entries=int(predicate["entries"]),
            size=int(predicate["size"]),
            created=predicate["created"],
            lineage=tuple(Ancestor(digest=Digest.parse(it["digest"]), created=it["created"]) for it in predicate["lineage"]),
            sequence=int(predicate["sequence"]),
            signed=predicate["signed"],
        )


@cache
def _validator() -> jsonschema.Draft202012Validator:
    schema = resources.files("bundler").joinpath("schemas", "statement.v1.json").read_bytes()
    return jsonschema.Draft202012Validator(json.loads(schema))
