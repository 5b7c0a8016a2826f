"""Delta: a bundle as its differences from another one, for a host that has that one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain

from bundler.bundle import Bundle
from bundler.delta import layer_rebuild
from bundler.delta.chunks import StoredLayer
from bundler.delta.layer_delta import LEVEL, LayerDelta, like
from bundler.delta.source_files import SourceFiles
from bundler.delta.tar_diff import Writer
from bundler.errors import IntegrityError
from bundler.format import delta_manifest, image_archive, table_reader
from bundler.format.compression_mode import Compression
from bundler.format.content import Descriptor, Digest
from bundler.format.delta_manifest import TAR_DIFF, TARGET_MANIFEST, DeltaManifest, DeltaSource
from bundler.format.image import LABEL_DIGEST
from bundler.format.metadata import Layer
from bundler.format.reference import LocalReference, image_name
from bundler.format.split_manifest import EMPTY, EMPTY_CONTENT
from bundler.format.toc import Chunk, Table
from bundler.ports import Image, ImageLookup, Spool, Store
from bundler.streams import Progress


@dataclass(frozen=True)
class NewDelta:
    """A delta, and the store with the blobs that only it has; ``refused`` are the layers that are in it whole."""

    manifest: DeltaManifest
    made: Store
    refused: Sequence[Descriptor]


def layers_of(bundle: Bundle, store: Store) -> list[StoredLayer]:
    """Return the layers of a bundle in a store that can be read in parts."""
    layers = zip(bundle.manifest.layers, bundle.metadata.layers, strict=True)
    return [StoredLayer(blob, layer, store.open, store.open_range, store.where) for blob, layer in layers]


def source_of(bundle: Bundle, stored: Digest) -> DeltaSource:
    """Describe a bundle as the source of a delta, beside which it is ``stored`` by this manifest."""
    name = LocalReference(image_name(bundle.metadata.model.title), digest=bundle.digest)
    return DeltaSource(bundle.digest, tuple(layer.diff_id for layer in bundle.metadata.layers), str(name), stored)


@contextmanager
def layers_of_applied(
    source: DeltaSource, engine: ImageLookup, spool: Spool, progress: Progress
) -> Iterator[list[StoredLayer] | None]:
    """Give the layers of an applied source, read from its image; they are in the local store for the length of the block.

    None without such an image. An image counts when it has the label of the source, and ends with its layers.
    """
    image = next((image for image in engine.images() if _is_applied(image, source)), None)
    if image is None:
        yield None
        return
    progress.stage(f"reading the source of the delta from the image {', '.join(image.names) or image.id}")
    spool.reserve(image.size)
    packed: dict[Digest, tuple[Descriptor, Layer]] = {}
    try:
        with engine.saved(image) as saved:
            for content in image_archive.layer_tars(saved):
                with suppress(IntegrityError):  # a layer of the base, or no layer
                    blob, layer = layer_rebuild.pack(content, spool.new_blob(), Compression.FAST)
                    packed[layer.diff_id] = blob, layer
        store = spool.open(LocalReference(""))
        if not all(diff_id in packed for diff_id in source.diff_ids):
            yield None
            return
        layers = [packed[diff_id] for diff_id in source.diff_ids]
        yield [StoredLayer(blob, layer, store.open, store.open_range, store.where) for blob, layer in layers]
    finally:
        spool.drop([blob for blob, _ in packed.values()])


def _is_applied(image: Image, source: DeltaSource) -> bool:
    base_layers = len(image.diff_ids) - len(source.diff_ids)
    return image.labels.get(LABEL_DIGEST) == str(source.digest) and image.diff_ids[base_layers:] == source.diff_ids


@contextmanager
def made(
    target: Bundle,
    store: Store,
    source: Bundle,
    source_store: Store,
    spool: Spool,
    progress: Progress,
    stored: Digest | None = None,
) -> Iterator[NewDelta]:
    """Make the delta from ``source`` to ``target``; its tar-diffs are in the local store for the length of the block.

    Both stores can be read in parts without network traffic. ``stored`` is the manifest by which the source is stored beside the
    delta, by default its own. A layer is in the delta whole if its tar-diff is not smaller, or if it has no table of contents.
    """
    known = {layer.diff_id for layer in source.metadata.layers}
    changed = [layer for layer in layers_of(target, store) if layer.layer.diff_id not in known]
    progress.stage(f"comparing with {source_store.where}", sum(layer.layer.size for layer in changed))
    diffs: dict[Digest, Descriptor] = {}
    others: list[Descriptor] = []
    try:
        with SourceFiles(layers_of(source, source_store)) as files:
            for layer in changed:
                table = Table.of(layer.blob)
                if table and not _is_new(layer, table, files):
                    diffs[layer.blob.digest] = _diff(layer, table, files, spool, progress)
        small = {layer.blob.digest: diffs[layer.blob.digest] for layer in changed if _is_smaller(diffs, layer.blob)}
        whole = [layer.blob for layer in changed if layer.blob.digest not in small]
        others.append(spool.take(TARGET_MANIFEST, delta_manifest.compressed(target.manifest)))
        others.append(spool.take(EMPTY.media_type, EMPTY_CONTENT))
        manifest = delta_manifest.build(target.manifest, others[0], source_of(source, stored or source.digest), small, whole)
        yield NewDelta(manifest, spool.open(LocalReference("")), whole)
    finally:
        spool.drop([*diffs.values(), *others])


def _is_new(layer: StoredLayer, table: Table, files: SourceFiles) -> bool:
    """Whether a layer has long files only, none like a file of the source: its tar-diff takes long, and is about as large."""
    items = table_reader.items(layer.blob, table, layer.open_range, layer.where)
    contents = (item for item in items if item.chunks)
    first = next(contents, None)
    return first is not None and all(len(item.chunks) > 1 and not like(files, item) for item in chain([first], contents))


def _diff(layer: StoredLayer, table: Table, files: SourceFiles, spool: Spool, progress: Progress) -> Descriptor:
    blob = spool.new_blob()
    try:
        items = table_reader.items(layer.blob, table, layer.open_range, layer.where)
        LayerDelta(files, Writer(blob, LEVEL), partial(_chunk, layer), progress).write(items)
    except BaseException:
        blob.discard()
        raise
    return blob.finish(TAR_DIFF)


def _chunk(layer: StoredLayer, chunk: Chunk, end: int) -> bytes:
    return layer.chunk(chunk.offset, end, chunk.size)


def _is_smaller(diffs: dict[Digest, Descriptor], blob: Descriptor) -> bool:
    return blob.digest in diffs and diffs[blob.digest].size < blob.size
