"""Listing: the files in a bundle as one tree, and the content of one file, by the tables of contents of its layers."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Collection, Generator, Iterable, Iterator
from dataclasses import dataclass

from bundler.bundle import Bundle
from bundler.errors import IntegrityError, NotFoundError, UsageError
from bundler.format import entry_rules, file_reader, paths, table_reader, tar, units
from bundler.format.content import Descriptor, Digest
from bundler.format.layer_reader import decompressed
from bundler.format.layer_rules import MAX_OWN
from bundler.format.metadata import Layer
from bundler.format.tar import Entry, Kind
from bundler.format.toc import Item, Table
from bundler.ports import Store
from bundler.streams import BLOCK, Progress, Readable

_EMPTY = Digest.of(b"")


@dataclass(frozen=True, slots=True)
class Node:
    """A path in a bundle: its entry, with the digest of a file's content; or no entry, where a path of the base is deleted."""

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
    """Yield each path that a bundle has or deletes, in walking order; raises `IntegrityError`.

    A layer without a table is read to its end. Layers whose blob is in ``left_out`` are not read.
    """
    above = {paths.decode(parent.path): parent for parent in bundle.metadata.parents}
    layers = list(_layers(bundle, store))
    own, final = [[it for it in some if it.blob.digest not in left_out] for some in (layers[:-1], layers[-1:])]
    if sum(layer.described.entries for layer in own) > MAX_OWN:
        raise IntegrityError(f"{store.where}: the layers but the last have more than {MAX_OWN} entries")
    # The valid entries of directories are in the last layer, and of those above the exports in the metadata.
    files = [node for layer in own for node in _nodes(layer, progress) if node.entry and node.entry.kind is not Kind.DIRECTORY]
    last = (node for layer in final for node in _nodes(layer, progress) if node.path not in above)
    parents = [Node(path, Entry(path, Kind.DIRECTORY, parent.mode, parent.uid, parent.gid, 0)) for path, parent in above.items()]
    deleted = [Node(paths.decode(path)) for path in bundle.metadata.removed]
    parts: list[Iterable[Node]] = [last, *(sorted(nodes, key=_sort_key) for nodes in (files, parents, deleted))]
    yield from _each_once(heapq.merge(*parts, key=_sort_key), store.where)


def content(bundle: Bundle, store: Store, path: str, progress: Progress) -> Iterator[bytes]:
    """Yield the content of one file, reading only tables of contents and the frames with the content.

    Content is verified before it is yielded. A layer without a table is read to its end, and verified
    when the iterator ends. Raises `NotFoundError` when the path is not a file.
    """
    for layer in _holding(bundle, store, path):
        entry = yield from _content(layer, path, progress)
        if entry and entry.kind is Kind.HARD_LINK:
            entry = yield from _content(layer, entry.target, progress)
        if entry:
            _check_is_file(entry, store.where)
            return
    raise _missing(bundle, store.where, path)


def parse(text: str) -> str:
    """Parse a path in a bundle, percent-encoded or plain; raises `UsageError`."""
    try:
        path = paths.decode(text)
    except IntegrityError:
        path = text
    path = path if path == "/" else path.removesuffix("/")
    if path != "/" and not paths.is_clean(path):
        raise UsageError(
            f"{paths.encode(path)!r} is not an absolute path", hint="Write it as `fps-bundle inspect --files` prints it."
        )
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
    """Yield the items of a layer; raises `IntegrityError` when their number differs from the metadata."""
    table = Table.of(layer.blob)
    count = 0
    store = layer.store
    for item in table_reader.items(layer.blob, table, store.open_range, store.where) if table else _from_tar(layer, progress):
        count += 1
        if count <= layer.described.entries:
            yield item
    if count != layer.described.entries:
        raise IntegrityError(
            f"{layer.what} has {units.counted(count, 'entry', 'entries')}; the metadata says {layer.described.entries}"
        )


def _from_tar(layer: _Layer, progress: Progress) -> Iterator[Item]:
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
            raise IntegrityError(f"{where}: {paths.encode(node.path)[:1000]!r} is duplicate or out of order in the layers")
        previous = key
        yield node


def _holding(bundle: Bundle, store: Store, path: str) -> list[_Layer]:
    """Return the layers that may contain a path, the last one first, as it has most files."""
    layers = [
        layer
        for layer in _layers(bundle, store)
        if any(paths.is_within(path, paths.decode(export)) for export in layer.described.exports)
    ]
    return layers[-1:] + layers[:-1]


def _content(layer: _Layer, path: str, progress: Progress) -> Generator[bytes, None, Entry | None]:
    """Yield a file's content; return the entry at the path, or a symbolic link above it."""
    table = Table.of(layer.blob)
    if not table:
        return (yield from _content_from_tar(layer, path, progress))
    match = None
    for item in _items(layer, progress):  # to the end, as the table is verified only then
        match = match or (item if _matches(item.entry, path) else None)
    if match and match.chunks:
        begin = match.chunks[0].offset
        if match.end > table.begin:
            raise IntegrityError(f"{layer.what} has no {match.end} bytes before its table")
        with layer.store.open_range(layer.blob, begin, match.end - begin) as stream:
            yield from file_reader.read(stream, match, layer.store.where)
    return match.entry if match else None


def _content_from_tar(layer: _Layer, path: str, progress: Progress) -> Generator[bytes, None, Entry | None]:
    _note(layer, progress)
    match = None
    with layer.store.open(layer.blob) as blob, decompressed(blob, layer.described, layer.store.where) as stream:
        for entry, data in tar.read(stream, canonical=True):
            if not match and _matches(entry, path):
                match = entry
                while block := data.read(BLOCK):
                    yield block
    return match


def _matches(entry: Entry, path: str) -> bool:
    """Whether an entry is at a path, or is a symbolic link above it."""
    return entry.path == path or (entry.kind is Kind.SYMLINK and paths.is_within(path, entry.path))


def _check_is_file(entry: Entry, where: str) -> None:
    name = f"{where}: {paths.encode(entry.path)!r}"
    if entry.kind is Kind.SYMLINK:
        raise NotFoundError(f"{name} is a symbolic link to {paths.encode(entry.target)!r}", hint="Name its target.")
    if entry.kind is not Kind.FILE:
        raise _directory(name, where)


def _missing(bundle: Bundle, where: str, path: str) -> NotFoundError:
    name = f"{where}: {paths.encode(path)!r}"
    if any(paths.is_within(path, paths.decode(removed)) for removed in bundle.metadata.removed):
        return NotFoundError(f"{name} is deleted: the model removed this path of the base")
    if path == "/" or path in {paths.decode(parent.path) for parent in bundle.metadata.parents}:
        return _directory(name, where)
    return NotFoundError(f"{name} is not in the bundle", hint=_list_hint(where))


def _directory(name: str, where: str) -> NotFoundError:
    return NotFoundError(f"{name} is a directory", hint=_list_hint(where))


def _list_hint(where: str) -> str:
    return f"List the files: fps-bundle inspect --files {where}"


def _note(layer: _Layer, progress: Progress) -> None:
    progress.note(f"{layer.what} has no table of contents: reading all of its {layer.blob.size} bytes")


def _digest(data: Readable) -> Digest:
    digest = hashlib.sha256()
    while block := data.read(BLOCK):
        digest.update(block)
    return Digest(digest.hexdigest())


def _sort_key(node: Node) -> tuple[bytes, ...]:
    return paths.sort_key(node.path)
