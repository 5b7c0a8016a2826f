"""Rebuild a layer from its tar-diff and the files of the source."""

from __future__ import annotations

from bundler.concurrency.pipeline import Pipeline
from bundler.delta.source_files import SourceFiles
from bundler.delta.tar_diff import Rebuilder
from bundler.errors import IntegrityError
from bundler.format import tar
from bundler.format.compression_mode import Compression
from bundler.format.content import Descriptor
from bundler.format.layer_writer import Blob, LayerWriter
from bundler.format.metadata import Layer
from bundler.streams import Readable


def rebuild(diff: Readable, source: SourceFiles, layer: Layer, blob: Blob, compression: Compression, where: str) -> Descriptor:
    """Write the blob of a layer; returns its descriptor, with the place of its table of contents.

    Raises `IntegrityError` when the result is not the layer of this diff ID, or its tar is not in canonical form.
    """
    with Rebuilder(diff, source, layer.size, layer.entries, f"{where}: the delta of the layer {layer.diff_id}") as rebuilt:
        return repack(rebuilt, layer, blob, compression, where)


def repack(tar_stream: Readable, layer: Layer, blob: Blob, compression: Compression, where: str) -> Descriptor:
    """Compress the tar of a layer as `LayerWriter` does; raises what `rebuild` raises."""
    descriptor, result = pack(tar_stream, blob, compression)
    if result.diff_id != layer.diff_id:
        raise IntegrityError(
            f"{where}: the layer that the delta makes has the diff ID {result.diff_id} in place of {layer.diff_id}",
            hint="Make the delta again, or copy the whole bundle.",
        )
    return descriptor


def pack(tar_stream: Readable, blob: Blob, compression: Compression) -> tuple[Descriptor, Layer]:
    """Compress a tar in canonical form as a layer; raises `IntegrityError` for any other tar, and keeps nothing of it."""
    try:
        with Pipeline() as pipeline:
            writer = LayerWriter(blob, pipeline, compression)
            for entry, content in tar.read(tar_stream, canonical=True):
                writer.add(entry, content)
            return writer.finish().result()
    except BaseException:
        blob.discard()
        raise
