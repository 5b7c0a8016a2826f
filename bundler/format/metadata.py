"""The metadata manifest of a bundle: typed values here, their JSON Schema in ``schemas/``.

Every model keeps fields it does not know, so that metadata of a later minor version survives a read
and a write.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.alias_generators import to_camel

from bundler.errors import BundlerError, IntegrityError, ModelError
from bundler.format import schema, strict_json
from bundler.format.content import Digest

SCHEMA_VERSION = 1
_SCHEMA = f"metadata.v{SCHEMA_VERSION}"

Sha256 = Annotated[
    Digest, BeforeValidator(lambda value: value if isinstance(value, Digest) else Digest.parse(value)), PlainSerializer(str)
]


class _Value(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True, arbitrary_types_allowed=True
    )


class Tool(_Value):
    """The program that wrote the bundle."""

    name: str
    version: str


class Source(_Value):
    """The container that the state was captured from; informative, never compared."""

    engine: str
    container_name: str
    container_id: str
    host_name: str | None = None


class Model(_Value):
    """The identity of the model, as far as the labels of its image state it."""

    title: str
    version: str
    vendor: str | None = None
    data_set_uuid: str | None = Field(default=None, alias="dataSetUUID")


class Platform(_Value):
    """What a base image runs on (OCI image spec, image-index.md, ``platform``)."""

    os: str
    architecture: str
    variant: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Base(_Value):
    """The clean image that the state is applied to; its diff IDs identify it, the rest is informative."""

    names: tuple[str, ...]
    repo_digests: tuple[str, ...]
    image_id: str = Field(alias="imageID")
    platform: Platform
    diff_ids: tuple[Sha256, ...] = Field(alias="diffIDs")
    chain_id: Sha256 = Field(alias="chainID")
    config: dict[str, Any]


class Export(_Value):
    """One exported path: as returned by the model, its resolved path, and its content (``size`` in bytes)."""

    path: str
    resolved: str
    kind: str
    entries: int
    size: int
    volume: bool


class LayerCompression(_Value):
    """How a layer was compressed: the mode (`compression.Compression`), and the version of libzstd."""

    mode: str
    libzstd: str


class Layer(_Value):
    """One layer of the bundle: ``size`` bytes of uncompressed tar with so many entries."""

    diff_id: Sha256 = Field(alias="diffID")
    size: int
    entries: int
    exports: tuple[str, ...]
    compression: LayerCompression | None = None


class Parent(_Value):
    """A directory above the exports, as it is on the source."""

    path: str
    mode: int
    uid: int
    gid: int


class Ancestor(_Value):
    """A bundle that this model came from."""

    digest: Sha256
    created: str


class Metadata(_Value):
    """The metadata of a bundle. Paths are percent-encoded (`paths.encode`)."""

    schema_version: int = SCHEMA_VERSION
    created: str
    tool: Tool
    source: Source
    model: Model
    base: Base
    image: dict[str, Any]
    exports: tuple[Export, ...]
    layers: tuple[Layer, ...]
    parents: tuple[Parent, ...]
    removed: tuple[str, ...] = ()
    privileged: tuple[str, ...] = ()
    lineage: tuple[Ancestor, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all layers, uncompressed."""
        return sum(layer.size for layer in self.layers)

    def same_state(self, other: Metadata, other_digest: Digest) -> bool:
        """Whether another bundle holds the same state: all but time, source and names is equal (docs/spec/format.md, "Unchanged").

        The lineage may be the other's, or begin with the other: then this model was applied from it, and learned nothing.
        """
        came_from_it = bool(self.lineage) and self.lineage[0].digest == other_digest
        return self._lasting() == other._lasting() and (came_from_it or self.lineage == other.lineage)

    def _lasting(self) -> dict[str, Any]:
        content = self.model_dump(mode="json", by_alias=True, exclude={"created", "source", "tool", "lineage"})
        for name in ("names", "repoDigests", "imageID"):
            del content["base"][name]
        for layer in content["layers"]:
            del layer["compression"]
        return content

    def to_bytes(self) -> bytes:
        """The canonical JSON; raises `ModelError` when it is larger than stores can carry."""
        content = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        if found := schema.fault(content, _SCHEMA):
            raise BundlerError(f"the new metadata breaks its schema at {found}")
        data = json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode()
        if fault := _too_large(content, data):
            raise ModelError(f"the metadata {fault}", hint="Have the model's Export name directories in place of single files.")
        return data

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Metadata:
        """Read metadata; raises `IntegrityError` unless it is valid and of a supported version."""
        content = strict_json.load(data, f"{where}: the metadata")
        version = content.get("schemaVersion")
        if version != SCHEMA_VERSION:
            raise IntegrityError(
                f"{where}: the metadata has schema version {str(version)[:20]!r}, this program knows {SCHEMA_VERSION}",
                hint="Use a newer fps-bundle.",
            )
        if found := schema.fault(content, _SCHEMA):
            raise IntegrityError(f"{where}: the metadata breaks its schema at {found}")
        try:
            return cls.model_validate(content, by_alias=True, by_name=False)
        except ValidationError as error:
            raise IntegrityError(f"{where}: the metadata cannot be read: {error.errors()[0]['msg']}") from error


def now() -> str:
    """The current time in RFC 3339, or that of ``SOURCE_DATE_EPOCH`` (reproducible-builds.org)."""
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _too_large(content: Any, data: bytes) -> str:
    """Return why readers refuse metadata, or an empty text."""
    if len(data) > strict_json.MAX_SIZE:
        return f"would be {len(data)} bytes, more than the {strict_json.MAX_SIZE} that registries take"
    try:
        strict_json.check(content)
    except ValueError as error:
        return f"could not be read again: {error}"
    return ""
