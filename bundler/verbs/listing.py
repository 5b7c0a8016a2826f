"""The files in a bundle, told by the tables of its layers: all of them as one tree, and the content of one."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Collection, Generator, Iterable, Iterator
from dataclasses import dataclass

from bundler.bundle import Bundle
from bundler.errors import IntegrityError, NotFoundError, UsageError
from bundler.format import entry_rules, file_reader, paths, tar, toc, units
from bundler.format.content import Descriptor, Digest, VerifyingReader
from bundler.format.layer_reader import decompressed
from bundler.format.layer_rules import MAX_OWN
from bundler.format.metadata import Layer
from bundler.format.tar import Entry, Kind
from bundler.format.toc import Item, Table
from bundler.ports import Store
from bundler.streams import BLOCK, Progress, Readable, drain

_EMPTY = Digest.of(b"")


@dataclass(frozen=True, slots=True)
class Node:
    """What a bundle has at a path: an entry, with the digest of a file's content; or none, where what the base has is deleted."""

    path: str
    entry: Entry | None = None
    digest: Digest | None = None

    @property
    def size(self) -> int:
        return self.entry.size if self.entry else 0


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer in its store."""

    blob: Descriptor
    described: Layer
    store: Store

    @property
    def what(self) -> str:
        return f"{self.store.where}: the layer {self.described.diff_id}"


def tree(bundle: Bundle, store: Store, progress: Progress, left_out: Collection[Digest] = ()) -> Iterator[Node]:
    """Each path that a bundle has an entry for, or deletes, in walking order; raises `IntegrityError`.

    A layer that has no table is read itself. Layers whose blob is in ``left_out`` are not read at all.
    """
    above = {paths.decode(parent.path): parent for parent in bundle.metadata.parents}
    layers = list(_layers(bundle, store))
    own, final = [[it for it in some if it.blob.digest not in left_out] for some in (layers[:-1], layers[-1:])]
    if sum(layer.described.entries for layer in own) > MAX_OWN:
        raise IntegrityError(f"{store.where}: the layers but the last have more than {MAX_OWN} entries")
    # Directories of these layers have their true entry in the last one, as have those above the exports in the metadata.
    files = [node for layer in own for node in _nodes(layer, progress) if node.entry and node.entry.kind is not Kind.DIRECTORY]
    last = (node for layer in final for node in _nodes(layer, progress) if node.path not in above)
    parents = [Node(path, Entry(path, Kind.DIRECTORY, parent.mode, parent.uid, parent.gid, 0)) for path, parent in above.items()]
    deleted = [Node(paths.decode(path)) for path in bundle.metadata.removed]
    parts: list[Iterable[Node]] = [last, *(sorted(nodes, key=_sort_key) for nodes in (files, parents, deleted))]
    yield from _each_once(heapq.merge(*parts, key=_sort_key), store.where)


def content(bundle: Bundle, store: Store, path: str, progress: Progress) -> Iterator[bytes]:
    """The content of one file; nothing is read but the tables where it may stand, and the frames that hold it.

    No byte of it is given that was not verified, unless its layer has no table: that is read to its end, and has been
    verified when the iterator ends. Raises `NotFoundError` for what is no file.
    """
    for layer in _holding(bundle, store, path):
        found = yield from _content(layer, path, progress)
        if found and found.kind is Kind.HARD_LINK:
            found = yield from _content(layer, found.target, progress)
        if found:
            _check_is_file(found, store.where)
            return
    raise _missing(bundle, store.where, path)


def parse(text: str) -> str:
    """A path in a bundle as a user writes it: percent-encoded as we print it, or as it is; raises `UsageError`."""
    try:
        path = paths.decode(text)
    except IntegrityError:
        path = text
    path = path if path == "/" else path.removesuffix("/")
    if path != "/" and not paths.is_clean(path):
        raise UsageError(f"{paths.encode(path)!r} is no absolute path", hint="Name it as `fps-bundle inspect --files` does.")
    return path


def _layers(bundle: Bundle, store: Store) -> Iterator[_Layer]:
    for blob, described in zip(bundle.manifest.layers, bundle.metadata.layers, strict=True):
        yield _Layer(blob, described, store)


def _nodes(layer: _Layer, progress: Progress) -> Iterator[Node]:
    for item in _items(layer, progress):
        entry = item.entry
        if entry_rules.deleted(entry) is None:
            yield Node(entry.path, entry, (item.digest or _EMPTY) if entry.kind is Kind.FILE else None)


def _items(layer: _Layer, progress: Progress) -> Iterator[Item]:
    """What is in a layer, which has as many entries as the metadata says."""
    table = Table.of(layer.blob)
    count = 0
    for item in _told(layer, table) if table else _walked(layer, progress):
        count += 1
        if count <= layer.described.entries:
            yield item
    if count != layer.described.entries:
        raise IntegrityError(f"{layer.what} has {units.counted(count, 'entry', 'entries')} in place of {layer.described.entries}")


def _told(layer: _Layer, table: Table) -> Iterator[Item]:
    where = layer.store.where
    expected = Descriptor(layer.blob.media_type, table.digest, table.length)
    with VerifyingReader(layer.store.open_range(layer.blob, table.offset, table.length), expected, where) as stream:
        try:
            yield from toc.read(stream, table, where)
        except IntegrityError:
            drain(stream)  # a table that was damaged on its way is told as that, by its digest
            raise
        drain(stream)


def _walked(layer: _Layer, progress: Progress) -> Iterator[Item]:
    _note(layer, progress)
    with layer.store.open(layer.blob) as blob, decompressed(blob, layer.described, layer.store.where) as stream:
        for entry, data in tar.read(stream, canonical=True):
            if fault := entry_rules.fault(entry):
                raise IntegrityError(f"{layer.what} is refused: {fault.sentence}")
            yield Item(entry, _digest(data) if entry.kind is Kind.FILE else None)


def _each_once(nodes: Iterable[Node], where: str) -> Iterator[Node]:
    previous: tuple[bytes, ...] = ()
    for node in nodes:
        key = _sort_key(node)
        if key <= previous:
            raise IntegrityError(f"{where}: the layers have {paths.encode(node.path)[:1000]!r} a second time or out of order")
        previous = key
        yield node


def _holding(bundle: Bundle, store: Store, path: str) -> list[_Layer]:
    """The layers where a path may stand; first the last one, which most files are in."""
    layers = [
        layer
        for layer in _layers(bundle, store)
        if any(paths.is_within(path, paths.decode(export)) for export in layer.described.exports)
    ]
    return layers[-1:] + layers[:-1]


def _content(layer: _Layer, path: str, progress: Progress) -> Generator[bytes, None, Entry | None]:
    """What a layer has at a path, or what symbolic link on the way to it; the content where it is a file."""
    table = Table.of(layer.blob)
    if not table:
        return (yield from _walked_content(layer, path, progress))
    found = None
    for item in _items(layer, progress):  # to its end: before that it is not verified
        found = found or (item if _is_met(item.entry, path) else None)
    if found and found.chunks:
        begin = found.chunks[0].offset
        if found.end > table.begin:
            raise IntegrityError(f"{layer.what} has no {found.end} bytes before its table")
        with layer.store.open_range(layer.blob, begin, found.end - begin) as stream:
            yield from file_reader.read(stream, found, layer.store.where)
    return found.entry if found else None


def _walked_content(layer: _Layer, path: str, progress: Progress) -> Generator[bytes, None, Entry | None]:
    _note(layer, progress)
    found = None
    with layer.store.open(layer.blob) as blob, decompressed(blob, layer.described, layer.store.where) as stream:
        for entry, data in tar.read(stream, canonical=True):
            if not found and _is_met(entry, path):
                found = entry
                while block := data.read(BLOCK):
                    yield block
    return found


def _is_met(entry: Entry, path: str) -> bool:
    """Whether an entry is what stands at a path, or a symbolic link that leads elsewhere on the way there."""
    return entry.path == path or (entry.kind is Kind.SYMLINK and paths.is_within(path, entry.path))


def _check_is_file(found: Entry, where: str) -> None:
    name = f"{where}: {paths.encode(found.path)!r}"
    if found.kind is Kind.SYMLINK:
        raise NotFoundError(f"{name} is a symbolic link to {paths.encode(found.target)!r}", hint="Name what it leads to.")
    if found.kind is not Kind.FILE:
        raise _directory(name, where)


def _missing(bundle: Bundle, where: str, path: str) -> NotFoundError:
    name = f"{where}: {paths.encode(path)!r}"
    if any(paths.is_within(path, paths.decode(removed)) for removed in bundle.metadata.removed):
        return NotFoundError(f"{name} is deleted: the base may have it, but the model no longer does")
    if path == "/" or path in {paths.decode(parent.path) for parent in bundle.metadata.parents}:
        return _directory(name, where)
    return NotFoundError(f"{name} is not in the bundle", hint=_look(where))


def _directory(name: str, where: str) -> NotFoundError:
    return NotFoundError(f"{name} is a directory", hint=_look(where))


def _look(where: str) -> str:
    return f"What there is: fps-bundle inspect --files {where}"


def _note(layer: _Layer, progress: Progress) -> None:
    progress.note(f"{layer.what} has no table of its files, so all of its {layer.blob.size} bytes are read")


def _digest(data: Readable) -> Digest:
    found = hashlib.sha256()
    while block := data.read(BLOCK):
        found.update(block)
    return Digest(found.hexdigest())


def _sort_key(node: Node) -> tuple[bytes, ...]:
    return paths.sort_key(node.path)
