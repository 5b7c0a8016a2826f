"""Reads a container by ``GET /containers/ID/export``, the one archive of all its files (Docker Engine API)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Self

from bundler.engines.readers import OpenTar, Stat, archived, broken
from bundler.errors import IntegrityError, ModelError, disk_errors
from bundler.format import paths
from bundler.format.tar import Entry, Kind
from bundler.streams import BLOCK, NOTHING, Readable

_KEPT = "the temporary copy of a file with several names"


class ExportReader:
    """Takes out of the archive of the whole container what is wanted; what lies on ``mounts`` is not in it.

    The archive holds a file under the first of its names, and links to that under the others. Where the first name lies outside of
    an export, the first name inside it gets the content. An engine locks a container that it streams, so no second archive can be
    read for that meanwhile. When the walk meets such a link it ends. Another walk gathers all such links, and a third one goes on
    where the first ended, with the contents that they need kept in a temporary file as they pass.
    """

    sees_all = False

    def __init__(self, stat: Stat, open_tar: OpenTar, mounts: Collection[str]) -> None:
        self.stat = stat
        self._open = open_tar
        self._mounts = mounts

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        self._refuse_mounts(exports)
        wanted = _Wanted(exports)
        with closing(self.walk()) as archive:
            for number, (entry, content) in enumerate(archive):
                if wanted.link_out(entry):
                    done = number
                    break
                if wanted.takes(entry):
                    yield entry, content
            else:
                return
        with closing(self.walk()) as archive:
            targets = {entry.target for entry, _ in archive if wanted.link_out(entry)}
        with _Originals(targets) as originals:
            yield from self._rest(wanted, done, originals)

    def _rest(self, wanted: _Wanted, done: int, originals: _Originals) -> Generator[tuple[Entry, Readable]]:
        """What follows the first ``done`` entries of the archive."""
        first_names: dict[tuple[str, str], str] = {}
        with closing(self.walk()) as archive:
            for number, (entry, content) in enumerate(archive):
                if entry.path in originals.paths and entry.kind is not Kind.HARD_LINK:
                    content = originals.keep(entry, content)
                if number < done or not wanted.takes(entry):
                    continue
                if not (export := wanted.link_out(entry)):
                    yield entry, content
                elif (first := first_names.setdefault((export, entry.target), entry.path)) != entry.path:
                    yield replace(entry, target=first), NOTHING
                else:
                    yield originals.under(entry)

    def walk(self) -> Generator[tuple[Entry, Readable]]:
        """Everything in the container, in the order of the archive."""
        with self._open("/") as stream:
            try:
                yield from archived(stream)
            except IntegrityError as error:
                raise broken("the container", error) from error

    def _refuse_mounts(self, exports: Sequence[str]) -> None:
        if hidden := [mount for mount in self._mounts if any(paths.overlap(mount, export) for export in exports)]:
            raise ModelError(
                f"{paths.encode(hidden[0])} is a mount, which can be read unchanged on this engine only while the container runs, "
                "by root on the engine's own host, without a user namespace",
                hint="Start the container and run this as root on that host; or keep state out of mounts.",
            )


class _Wanted:
    """The exports, and the directories above them."""

    def __init__(self, exports: Sequence[str]) -> None:
        self._exports = frozenset(exports)
        self._above = frozenset(directory for export in exports for directory in paths.ancestors(export))

    def takes(self, entry: Entry) -> bool:
        return entry.path in self._above or bool(paths.top_of(entry.path, self._exports))

    def link_out(self, entry: Entry) -> str:
        """The export of a hard link whose target is not in it; empty for any other entry."""
        export = paths.top_of(entry.path, self._exports) if entry.kind is Kind.HARD_LINK else ""
        return export if export and not paths.is_within(entry.target, export) else ""


class _Originals:
    """Files that links in other places need, kept in a temporary file as they pass."""

    def __init__(self, targets: Collection[str]) -> None:
        self.paths = targets
        self._kept: dict[str, tuple[Entry, int]] = {}
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by the block
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keep(self, entry: Entry, content: Readable) -> Readable:
        """Copy a content; gives the copy."""
        start = self._size
        while block := content.read(BLOCK):
            with disk_errors(_KEPT):
                self._file.write(block)
            self._size += len(block)
        self._kept[entry.path] = entry, start
        return _Kept(self._file.fileno(), start, entry.size)

    def under(self, link: Entry) -> tuple[Entry, Readable]:
        """The file that a link leads to, under the name of the link."""
        if link.target not in self._kept:
            raise broken("the container", IntegrityError(f"{link.target!r}, which {link.path!r} is linked to, is not there"))
        entry, start = self._kept[link.target]
        return replace(entry, path=link.path), _Kept(self._file.fileno(), start, entry.size)


class _Kept:
    """One content in the temporary file."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor = descriptor
        self._at = start
        self._end = start + size

    def read(self, size: int = -1, /) -> bytes:
        left = self._end - self._at
        with disk_errors(_KEPT):
            data = os.pread(self._descriptor, min(left, size if size >= 0 else left), self._at)
        self._at += len(data)
        return data


def changes(before: Iterator[tuple[Entry, Readable]], now: Iterator[tuple[Entry, Readable]]) -> dict[str, str]:
    """What differs between the archives of two containers, by path: ``added``, ``changed`` or ``deleted``.

    Both come in the same walking order. A file with another content has another size or time.
    """
    found: dict[str, str] = {}
    old, new = next(before, None), next(now, None)
    while old or new:
        old_key, new_key = (paths.sort_key(it[0].path) if it else None for it in (old, new))
        if new_key is None or (old_key is not None and old_key < new_key):
            assert old
            found[old[0].path] = "deleted"
            old = next(before, None)
        elif old_key is None or new_key < old_key:
            assert new
            found[new[0].path] = "added"
            new = next(now, None)
        else:
            assert old
            assert new
            if old[0] != new[0]:
                found[new[0].path] = "changed"
            old, new = next(before, None), next(now, None)
    return found
