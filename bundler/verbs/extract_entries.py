"""The entries of a bundle's layers, by their tables of contents, checked by all rules for layers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bundler.bundle import Bundle
from bundler.errors import IntegrityError
from bundler.format import layer_reader, table_reader, tar, units
from bundler.format.content import Descriptor, Digest
from bundler.format.faults import Fault
from bundler.format.layer_reader import decompressed
from bundler.format.layer_rules import LayerChecker
from bundler.format.metadata import Layer
from bundler.format.tar import Entry
from bundler.format.toc import CHUNK, Chunk, Item, Table
from bundler.ports import Store
from bundler.streams import Progress, Readable, Stream, read_exactly, watched


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer of a bundle: its blob, and how the metadata describes it."""

    blob: Descriptor
    described: Layer


def layers(bundle: Bundle) -> list[StoredLayer]:
    """Return the layers of a bundle in their order."""
    return [StoredLayer(*both) for both in zip(bundle.manifest.layers, bundle.metadata.layers, strict=True)]


class Entries:
    """The entries of a bundle in a store. Each table is fetched once.

    A layer without a table is read to its end to list it; its items have the chunks of the files, but no place in the blob.
    """

    def __init__(self, bundle: Bundle, store: Store, progress: Progress) -> None:
        self.layers = layers(bundle)
        self.where = store.where
        self._bundle = bundle
        self._store = store
        self._progress = progress
        self._tables: dict[Digest, bytes] = {}

    def items(self, layer: StoredLayer) -> Iterator[Item]:
        """Yield the items of a layer."""
        table = Table.of(layer.blob)
        if table is None:
            return self._from_tar(layer)
        return table_reader.items(layer.blob, table, self._open_table, self.where)

    def checked(self) -> Iterator[tuple[StoredLayer, Iterator[Item]]]:
        """Yield each layer with its items; raises `IntegrityError` for a bundle that breaks a rule.

        The items of a layer must be used up before the next layer, and the last layer, too: some rules are for all of them.
        """
        checker = LayerChecker(self._bundle.metadata)
        for number, layer in enumerate(self.layers):
            checker.begin_layer(number)
            yield layer, self._checked_items(layer, checker)
            self._refuse(checker.end_layer(), layer)
        self._refuse(checker.finish())

    def _checked_items(self, layer: StoredLayer, checker: LayerChecker) -> Iterator[Item]:
        if Table.of(layer.blob) is None:
            self._progress.note(f"{self._what(layer)} has no table of contents: reading all of its {layer.blob.size} bytes")
            with watched(self._store.open(layer.blob), self._progress) as blob:
                layer_reader.verify(blob, layer.blob, layer.described, self.where, checker.check)
            yield from self._from_tar(layer)
            return
        count = 0
        for item in self.items(layer):
            count += 1
            self._refuse(checker.check(item.entry), layer)
            yield item
        if count != layer.described.entries:
            entries = units.counted(count, "entry", "entries")
            raise IntegrityError(f"{self._what(layer)} has {entries}; the metadata says {layer.described.entries}")

    def _refuse(self, fault: Fault | None, layer: StoredLayer | None = None) -> None:
        if fault:
            what = self._what(layer) if layer else self.where
            raise IntegrityError(f"{what}: {fault.sentence}")

    def _what(self, layer: StoredLayer) -> str:
        return f"{self.where}: the layer {layer.described.diff_id}"

    def _open_table(self, blob: Descriptor, offset: int, size: int) -> Stream:
        """Open part of a blob, from memory when it was fetched before."""
        if self._store.rereadable:
            return self._store.open_range(blob, offset, size)
        if blob.digest not in self._tables:
            with self._store.open_range(blob, offset, size) as stream:
                self._tables[blob.digest] = stream.read()
        return io.BytesIO(self._tables[blob.digest])

    def _from_tar(self, layer: StoredLayer) -> Iterator[Item]:
        with tar_entries(layer, self._store, self._progress) as entries:
            for entry, content in entries:
                chunks = []
                for start in range(0, entry.size, CHUNK):
                    data = read_exactly(content, min(CHUNK, entry.size - start))
                    chunks.append(Chunk(0, start, len(data), Digest.of(bytes(data))))
                yield Item(entry, None, tuple(chunks))


@contextmanager
def tar_entries(layer: StoredLayer, store: Store, progress: Progress) -> Iterator[Iterator[tuple[Entry, Readable]]]:
    """The entries of a layer with their contents, read from the layer itself; it is verified when the block ends."""
    with (
        watched(store.open(layer.blob), progress) as blob,
        decompressed(blob, layer.described, store.where) as stream,
    ):
        yield tar.read(stream, canonical=True)
