"""Distribute entries to layers, so that a small change of the state is a small change of the bundle.

Files of `BIG` bytes or more are layers of their own; all else, directories included, is the last
layer (docs/spec/format.md, "Layers").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

from bundler.concurrency.pipeline import Pipeline
from bundler.errors import ModelError
from bundler.format import layer_rules, metadata, paths
from bundler.format.compression_mode import Compression
from bundler.format.content import Descriptor
from bundler.format.layer_writer import Blob, Finished, LayerWriter
from bundler.format.tar import STATE_KINDS, WHITEOUT, Entry, Kind, is_privileged, whiteout
from bundler.streams import Readable

BIG = 64 << 20
MAX_BIG_LAYERS = 64
MAX_IMAGE_LAYERS = 120
"""Most layers of an image; overlay2 takes 128 lower directories, and other images may be built on ours."""


MAX_STATE = layer_rules.MAX_ENTRIES * 9 // 10
"""Most entries that a bundle is made of; the rest is reserved for the directories above them, and whiteouts."""
MAX_PRIVILEGED = 1000
"""Most files with setuid, setgid or a capability; apply lists all of them for review."""
MAX_XATTRS = 512 << 10
"""Most bytes of extended attributes of one entry; readers accept at most 1 MiB of its PAX header, which holds them."""


_FEWER = "Have the model keep its state in another form."


class ExportCount:
    """The content of one export, counted."""

    def __init__(self) -> None:
        self.entries = 0
        self.size = 0
        self.kind = ""
        self.left_out: list[str] = []
        self._is_bare = True

    def add(self, entry: Entry) -> None:
        if not self.entries:
            self.kind = entry.kind.name.lower()
        self.entries += 1
        self.size += entry.size
        self._is_bare = self._is_bare and entry.kind is Kind.DIRECTORY

    @property
    def without_state(self) -> str:
        """What an export without state is; empty for one that holds a file, or is a directory of which something is kept.

        A directory that is empty is state, too: the model has learned nothing yet.
        """
        if self.kind == Kind.SYMLINK.name.lower():
            return "a symbolic link, whose target is not exported with it"
        if not self.entries:
            return "a FIFO, a socket or a device" if self.left_out else "nothing that can be exported"
        return "a directory of FIFOs, sockets or devices alone" if self._is_bare and self.left_out else ""


class Packer:
    """Write the entries of all exports, which come in walking order, to the layers of a bundle.

    ``exports`` are the topmost exported paths; the directories above them come first, as parents. ``finished`` is told of each
    layer when its blob is whole, by another thread; most are so before all is read.
    """

    def __init__(
        self,
        new_blob: Callable[[], Blob],
        exports: Sequence[str],
        base_layers: int,
        pipeline: Pipeline,
        compression: Compression = Compression.AUTO,
        finished: Callable[[Descriptor, metadata.Layer], None] = lambda _, __: None,
    ) -> None:
        self._new_blob = new_blob
        self._pipeline = pipeline
        self._compression = compression
        self._room = max(0, min(MAX_BIG_LAYERS, MAX_IMAGE_LAYERS - base_layers))
        self._tell = finished
        self._big: list[LayerWriter] = []
        self._last: LayerWriter | None = None
        self._open_directories: list[Entry] = []
        self._layer_of: dict[str, LayerWriter] = {}
        self._left_out: set[str] = set()
        self._skipped: set[str] = set()
        self._entries = 0
        self._export = ""
        self._previous: tuple[bytes, ...] = ()
        self.counts = {export: ExportCount() for export in exports}
        self.privileged: list[str] = []
        self.parents: dict[str, Entry] = {}
        self._ends: dict[LayerWriter, Future[Finished]] = {}

    def add_parent(self, entry: Entry) -> None:
        """Record a directory above an export, before the entries in it.

        Raises `ModelError` for a link, which it has become since the export was looked for.
        """
        if entry.kind is not Kind.DIRECTORY:
            raise ModelError(f"{paths.encode(entry.path)} changed while it was read", hint="Run the command again.")
        self.parents[entry.path] = entry

    def add(self, entry: Entry, content: Readable) -> None:
        """Add one entry to its layer; raises `ModelError` for an entry that no layer can hold."""
        self._check(entry)
        self._enter_export(entry.path)
        count = self.counts[self._export]
        if entry.kind is Kind.HARD_LINK and entry.target in self._skipped:
            raise ModelError(
                f"{paths.encode(entry.path)!r} shares its content with {paths.encode(entry.target)!r}, which a mount hides",
                hint="Have the model copy the file instead of linking it.",
            )
        if entry.kind not in STATE_KINDS or (entry.kind is Kind.HARD_LINK and entry.target in self._left_out):
            self._left_out.add(entry.path)
            count.left_out.append(entry.path)
            return
        count.add(entry)
        self._count()
        while self._open_directories and not paths.is_within(entry.path, self._open_directories[-1].path):
            self._open_directories.pop()
        if entry.kind is Kind.FILE and is_privileged(entry):
            self._add_privileged(entry)
        layer = self._layer_for(entry)
        self._add_ancestors(layer, entry.path)
        layer.add(entry, content)
        if self._export not in layer.exports:
            layer.exports.append(self._export)
        if layer is not self._last:
            self._rest(layer, entry)
        if entry.kind is Kind.DIRECTORY:
            self._open_directories.append(entry)

    def skip(self, path: str) -> None:
        """Record an entry that is not part of the state, so that hard links to it are left out, too."""
        self._skipped.add(path)

    def remove(self, path: str) -> None:
        """Write the whiteout of a path of the base; call it after all entries (OCI image spec, layer.md, "Whiteouts")."""
        self._open_directories = []
        layer = self._last_layer()
        self._add_ancestors(layer, path)
        layer.add(whiteout(path))

    def _add_privileged(self, entry: Entry) -> None:
        self.privileged.append(entry.path)
        if len(self.privileged) > MAX_PRIVILEGED:
            raise ModelError(f"the state has more than {MAX_PRIVILEGED} files with setuid, setgid or a capability", hint=_FEWER)

    def finish(self) -> tuple[list[Descriptor], list[metadata.Layer]]:
        """Finish all layers; returns their descriptors and descriptions in the order in which they are applied."""
        for layer in self._layers:
            self._end(layer)
        ends = [self._ends[layer].result() for layer in self._layers]
        return [descriptor for descriptor, _ in ends], [description for _, description in ends]

    def discard(self) -> list[Descriptor]:
        """Discard the unfinished layers; returns the blobs that are already in the store."""
        for layer in self._layers:
            layer.discard()
        done = (end for end in self._ends.values() if end.done() and not end.cancelled() and not end.exception())
        return [end.result()[0] for end in done]

    @property
    def left_out(self) -> list[str]:
        """FIFOs, sockets and devices, which are not state."""
        return [path for count in self.counts.values() for path in count.left_out]

    @property
    def _layers(self) -> list[LayerWriter]:
        return [*self._big, *([self._last] if self._last else [])]

    def _rest(self, layer: LayerWriter, entry: Entry) -> None:
        """Flush the layer of a big file: only hard links to that file can follow, until its export ends."""
        if entry.alone:
            self._end(layer)
        else:
            layer.rest()

    def _end(self, layer: LayerWriter) -> None:
        if layer not in self._ends:
            self._ends[layer] = layer.finish()
            self._ends[layer].add_done_callback(self._ended)

    def _ended(self, end: Future[Finished]) -> None:
        if not end.cancelled() and not end.exception():
            self._tell(*end.result())

    def _check(self, entry: Entry) -> None:
        raw = paths.to_bytes(entry.path)
        key = tuple(raw.split(b"/"))
        if key <= self._previous:
            raise ModelError(
                f"the engine gave {paths.encode(entry.path)!r} out of order",
                hint="This is a fault of the engine or of fps-bundle; please report it.",
            )
        self._previous = key
        if not paths.is_short(raw):
            raise ModelError(f"{paths.encode(entry.path)[:500]!r} is too long a path for an image", hint=_FEWER)
        if entry.xattrs and sum(len(name) + len(value) for name, value in entry.xattrs) > MAX_XATTRS:
            raise ModelError(
                f"{paths.encode(entry.path)!r} has more than {MAX_XATTRS} bytes of extended attributes",
                hint="No layer can hold them. Have the model keep less there, or push without --extended.",
            )
        if key[-1].startswith(WHITEOUT.encode()):
            raise ModelError(
                f"{paths.encode(entry.path)!r} cannot be part of an image layer: names that begin with .wh. mean deletions there",
                hint="Have the model rename that file.",
            )

    def _count(self) -> None:
        """Raise `ModelError` for more entries than readers accept, with the directories above them and the whiteouts."""
        self._entries += 1
        if self._entries > MAX_STATE or (self._big and sum(layer.entries for layer in self._big) > layer_rules.MAX_OWN):
            raise ModelError("the state has more entries than a bundle may have", hint=_FEWER)

    def _layer_for(self, entry: Entry) -> LayerWriter:
        if entry.kind is Kind.HARD_LINK and entry.target in self._layer_of:
            return self._layer_of[entry.target]
        if entry.kind is Kind.FILE and entry.size >= BIG and len(self._big) < self._room:
            layer = LayerWriter(self._new_blob(), self._pipeline, self._compression)
            self._big.append(layer)
            if not entry.alone:
                self._layer_of[entry.path] = layer
            return layer
        return self._last_layer()

    def _last_layer(self) -> LayerWriter:
        if self._last is None:
            self._last = LayerWriter(self._new_blob(), self._pipeline, self._compression)
        return self._last

    def _enter_export(self, path: str) -> None:
        """Start the export of a path; no hard link crosses exports, so the layers of big files end here."""
        if self._export and paths.is_within(path, self._export):
            return
        self._export = next(above for above in (*paths.ancestors(path), path) if above in self.counts)
        self._open_directories = []
        for layer in self._layer_of.values():
            self._end(layer)
        self._layer_of = {}
        self._left_out = set()

    def _add_ancestors(self, layer: LayerWriter, below: str) -> None:
        """Add the directories above an entry, which engines otherwise reset to 0755 root."""
        directory = below.rpartition("/")[0]
        if not directory or not layer.lacks(directory):
            return
        inside = {directory.path: directory for directory in self._open_directories}
        for path in paths.ancestors(below):
            if layer.lacks(path):
                # Time 0, so that a new file in the directory of a big one does not change the big one's layer;
                # the true time of a directory of the state stands in the last layer, which wins.
                layer.add(replace(inside.get(path) or self.parents[path], mtime=0, nanoseconds=0, xattrs=()))
