"""Rebuild a layer from its tar-diff and the files of the source."""

from __future__ import annotations

from bundler.concurrency.pipeline import Pipeline
from bundler.delta.source_files import SourceFiles
from bundler.delta.tar_diff import Rebuilder
from bundler.errors import IntegrityError
from bundler.format import tar
from bundler.format.compression_mode import Compression
from bundler.format.content import Descriptor
from bundler.format.layer_writer import Blob, FindFrame, Finished, LayerWriter, no_frame
from bundler.format.metadata import Layer
from bundler.streams import Readable


def rebuild(
    diff: Readable, source: SourceFiles, layer: Layer, blob: Blob, compression: Compression, where: str, *, copies_frames: bool
) -> Descriptor:
    """Write the blob of a layer; returns its descriptor, with the place of its table of contents.

    With ``copies_frames`` the source's frames of unchanged chunks are copied, which is right where both were compressed alike.
    Raises `IntegrityError` when the result is not the layer of this diff ID, or its tar is not in canonical form.
    """
    with Rebuilder(diff, source, layer.size, layer.entries, f"{where}: the delta of the layer {layer.diff_id}") as rebuilt:
        made = pack(rebuilt, blob, compression, rebuilt.frame if copies_frames else no_frame)
    return _checked(made, layer, where)


def repack(tar_stream: Readable, layer: Layer, blob: Blob, compression: Compression, where: str) -> Descriptor:
    """Compress the tar of a layer as `LayerWriter` does; raises what `rebuild` raises."""
    return _checked(pack(tar_stream, blob, compression), layer, where)


def pack(tar_stream: Readable, blob: Blob, compression: Compression, frame: FindFrame = no_frame) -> Finished:
    """Compress a tar in canonical form as a layer; raises `IntegrityError` for any other tar, and keeps nothing of it.

    ``frame`` finds ready frames of the contents.
    """
    try:
        with Pipeline() as pipeline:
            writer = LayerWriter(blob, pipeline, compression)
            for entry, content in tar.read(tar_stream, canonical=True):
                writer.add(entry, content, frame)
            return writer.finish().result()
    except BaseException:
        blob.discard()
        raise


def _checked(made: Finished, layer: Layer, where: str) -> Descriptor:
    descriptor, result = made
    if result.diff_id != layer.diff_id:
        raise IntegrityError(
            f"{where}: the layer that the delta makes has the diff ID {result.diff_id} in place of {layer.diff_id}",
            hint="Make the delta again, or copy the whole bundle.",
        )
    return descriptor
