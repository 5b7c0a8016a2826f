"""Forges bundles: everything is sound but what a case changes, and every digest above that is computed anew.

So only the rule under test can notice it. What ``sign`` gives for the finished manifest is added, as an honest
signer would sign it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard
from fakes import directory, file
from judging import described

from bundler.format import artifact, tar
from bundler.format.content import Descriptor, Digest
from bundler.format.metadata import Metadata
from bundler.format.tar import Entry
from bundler.stores.layout import index

Member = tuple[Entry, bytes]
Signer = Callable[[Descriptor, bytes, bytes], Sequence[tuple[Descriptor, bytes]]]
"""Gives blobs and referrers for a manifest's descriptor, its bytes and those of the metadata; what has a ``subject`` is listed."""

TOP, FILE = directory("/s"), file("/s/f")
COMPRESS = zstandard.ZstdCompressor(write_checksum=True).compress


def same(value: Any) -> Any:
    return value


@dataclass
class Forgery:
    """How a bundle is forged: what it holds, and what is done to each thing on the way."""

    layers: Sequence[Sequence[Member]] = field(default_factory=lambda: [[TOP, FILE]])
    truth: dict[str, Any] = field(default_factory=dict)
    """What the metadata says beside what is counted."""
    plain: Callable[[bytes], bytes] = same
    """The tar of the last layer, whose diff ID and size are then those of what this gives."""
    compress: Callable[[bytes], bytes] = COMPRESS
    metadata: Callable[[dict[str, Any]], Any] = same
    config: Callable[[bytes], bytes] = same
    manifest: Callable[[dict[str, Any]], Any] = same
    manifest_data: Callable[[bytes], bytes] = same
    index: Callable[[dict[str, Any]], Any] = same
    index_data: Callable[[bytes], bytes] = same
    files: Callable[[dict[str, bytes]], Any] = same
    archive: Callable[[bytes], bytes] = same

    def parts(self, sign: Signer | None = None) -> dict[str, bytes]:
        """The files of the layout, by their names in it."""
        blobs, told = self._layers()
        content = json.loads(told.to_bytes())
        self.metadata(content)
        config = self.config(dump(content))
        manifest = self._manifest(told, config, blobs)
        descriptor = Descriptor.of(artifact.MANIFEST, manifest)
        signed = list(sign(descriptor, manifest, config)) if sign else []
        listed = [{**descriptor.to_json(), "artifactType": artifact.BUNDLE, "annotations": {artifact.REF_NAME: "1"}}]
        listed += [item.to_json() for item, data in signed if b'"subject"' in data]
        content = {"schemaVersion": 2, "mediaType": artifact.INDEX, "manifests": listed}
        self.index(content)
        files = {index.LAYOUT_FILE: index.LAYOUT_CONTENT}
        for data in (*blobs, config, manifest, *(data for _, data in signed)):
            files[index.blob_path(Digest.of(data))] = data
        files[index.INDEX_FILE] = self.index_data(dump(content))
        self.files(files)
        return files

    def to_archive(self, path: Path, sign: Signer | None = None) -> str:
        """Write it as an archive; gives the reference."""
        path.write_bytes(self.archive(b"".join(archived(*item) for item in self.parts(sign).items()) + tar.TRAILER))
        return str(path)

    def to_layout(self, path: Path, sign: Signer | None = None) -> str:
        """Write it as a layout; gives the reference."""
        for name, data in self.parts(sign).items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        return f"oci:{path}"

    def _layers(self) -> tuple[list[bytes], Metadata]:
        plains = [b"".join(packed(*member) for member in members) + tar.TRAILER for members in self.layers]
        plains[-1] = self.plain(plains[-1])
        told = described([[entry for entry, _ in members] for members in self.layers], **self.truth)
        true = [
            layer.model_copy(update={"diff_id": Digest.of(plain), "size": len(plain)})
            for layer, plain in zip(told.layers, plains, strict=True)
        ]
        return [*map(COMPRESS, plains[:-1]), self.compress(plains[-1])], told.model_copy(update={"layers": tuple(true)})

    def _manifest(self, told: Metadata, config: bytes, blobs: Sequence[bytes]) -> bytes:
        layers = [Descriptor.of(artifact.LAYER, blob) for blob in blobs]
        content = json.loads(artifact.build(told, Descriptor.of(artifact.CONFIG, config), layers).data)
        self.manifest(content)
        return self.manifest_data(dump(content))


def dump(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode()


def packed(entry: Entry, data: bytes) -> bytes:
    return tar.encode(entry) + data + tar.padding(len(data))


def archived(name: str, data: bytes) -> bytes:
    return packed(Entry(f"/{name}", tar.Kind.FILE, 0o644, 0, 0, 0, len(data)), data)
