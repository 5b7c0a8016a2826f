"""The layers of a base image that is not on an engine: where their blobs are, and the files in them."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from bundler.format import image_compression, ordinary_layer, paths
from bundler.format.content import Descriptor
from bundler.format.tar import Entry, Kind
from bundler.ports import ImageStore, Store
from bundler.streams import BLOCK, Opener, Readable

_CAPABILITY = "SCHILY.xattr.security.capability"


@dataclass(frozen=True)
class ImageLayer:
    """A layer of a new image: its descriptor in the manifest, its content, and the store that has it, unless it is on this host."""

    descriptor: Descriptor
    open: Opener
    source: ImageStore | Store | None = None


def files_at(wanted: Collection[str], layers: Sequence[ImageLayer], where: str) -> dict[str, Entry]:
    """Return mode, owner and capability of the files at some paths of an image; raises `IntegrityError` for a damaged layer.

    A file whose content is in another entry, as a hard link, counts only where that entry is wanted, too.
    """
    found: dict[str, Entry] = {}
    for layer in layers:
        with layer.open() as blob, image_compression.errors(layer.descriptor, where):
            found = _Layer(wanted, found).read(image_compression.plain(blob, layer.descriptor), where)
    return found


@dataclass
class _Layer:
    """The wanted files of one layer, and what it leaves of those below it."""

    wanted: Collection[str]
    below: dict[str, Entry]
    here: dict[str, Entry] = field(default_factory=dict)

    def read(self, content: Readable, where: str) -> dict[str, Entry]:
        for path, member, _ in ordinary_layer.members(content, where):
            self._add(path, member)
        while content.read(BLOCK):
            pass
        return self.below | self.here

    def _add(self, path: str, member: tarfile.TarInfo) -> None:
        if whiteout := ordinary_layer.hidden_by(path):
            hidden, itself = whiteout
            self._hide(hidden, itself=itself)
        elif not member.isdir():
            self._hide(path, itself=True)
        if path in self.wanted and (entry := self._entry(path, member)):
            self.here[path] = entry

    def _hide(self, path: str, *, itself: bool) -> None:
        hidden = [other for other in self.below if paths.is_within(other, path) and (itself or other != path)]
        for other in hidden:
            del self.below[other]

    def _entry(self, path: str, member: tarfile.TarInfo) -> Entry | None:
        if member.islnk():
            target = posixpath.normpath(f"/{member.linkname}")
            linked = self.here.get(target) or self.below.get(target)
            return replace(linked, path=path) if linked else None
        if not member.isreg():
            return None
        capability = member.pax_headers.get(_CAPABILITY, "").encode("utf-8", "surrogateescape")
        mode = member.mode & 0o7777
        return Entry(path, Kind.FILE, mode, member.uid, member.gid, int(member.mtime), member.size, capability=capability)
