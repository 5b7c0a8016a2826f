"""Send the blobs of a new image to its destination, and compress its layers again where that is wanted."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from bundler.bundle import Bundle
from bundler.concurrency import parallel
from bundler.errors import IntegrityError
from bundler.format import artifact, image_compression, layer_reader
from bundler.format.content import Descriptor
from bundler.format.image_compression import ImageCompression
from bundler.format.reference import LocalReference
from bundler.ports import ImageStore, ImageUpload, Spool, Store
from bundler.streams import Progress, WatchedOpener, from_memory, watched
from bundler.verbs.base_layers import ImageLayer


def send(layers: Sequence[ImageLayer], config: bytes, upload: ImageUpload, store: ImageStore, progress: Progress) -> None:
    """Upload the layers and the config that the destination lacks, several at once where it supports that."""
    described = ImageLayer(Descriptor.of(artifact.IMAGE_CONFIG, config), from_memory(config))
    blobs = {layer.descriptor.digest: layer for layer in layers}
    progress.stage(f"copying to {store.where}", sum(layer.descriptor.size for layer in blobs.values()))
    stop, workers = threading.Event(), 1 if store.ordered else store.parallel
    missing: dict[object, ImageLayer] = {}

    def look(layer: ImageLayer) -> None:
        if upload.has(layer.descriptor, layer.source):
            progress.advance(layer.descriptor.size)
        else:
            missing[layer.descriptor.digest] = layer

    parallel.each(look, blobs.values(), workers, stop)
    in_order = [layer for digest, layer in blobs.items() if digest in missing]
    upload.reserve(sum(layer.descriptor.size for layer in in_order))
    parallel.each(lambda layer: _put(layer, upload, progress, stop), in_order, workers, stop)
    if not upload.has(described.descriptor, None):
        upload.put(described.descriptor, described.open)


def _put(layer: ImageLayer, upload: ImageUpload, progress: Progress, stop: threading.Event) -> None:
    opener = WatchedOpener(layer.open, progress, stop)
    try:
        upload.put(layer.descriptor, opener)
    except IntegrityError as error:
        if layer.source is None or layer.source.rereadable:
            raise
        progress.note(f"fetching the blob once more: {error.message}")
        upload.put(layer.descriptor, opener)


@contextmanager
def recompressed(
    bundle: Bundle, source: Store, spool: Spool, wanted: ImageCompression, progress: Progress
) -> Iterator[list[ImageLayer]]:
    """Yield the layers of a bundle in another compression; they are in the local store for the length of the block."""
    progress.stage(f"compressing the layers of the bundle again, with {wanted.value}", bundle.manifest.size)
    local = spool.open(LocalReference(""))
    made: list[Descriptor] = []
    try:
        for descriptor, layer in zip(bundle.manifest.layers, bundle.metadata.layers, strict=True):
            spool.reserve(descriptor.size)
            blob = spool.new_blob()
            try:
                with (
                    watched(source.open(descriptor), progress) as content,
                    layer_reader.decompressed(content, layer, source.where) as tar_stream,
                ):
                    image_compression.compress(tar_stream, blob, wanted)
            except BaseException:
                blob.discard()
                raise
            made.append(blob.finish(wanted.media_type))
        yield [ImageLayer(descriptor, partial(local.open, descriptor)) for descriptor in made]
    finally:
        spool.drop(made)
