"""Reads a container by ``GET /containers/ID/export``, the archive of all its files (Docker Engine API)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Self

from bundler.engines.archive_reader import OpenTar, Stat, incomplete, read_archive
from bundler.errors import ModelError, disk_errors
from bundler.format import paths
from bundler.format.tar import Entry, Kind
from bundler.streams import BLOCK, NOTHING, Readable

_COPY = "the temporary copy of a file with several names"


class ExportReader:
    """Selects entries from the archive of the whole container, which lacks the files on ``mounts``.

    The archive has a file under the first of its names, and hard links under the others. If the first name lies outside of an
    export, the first name inside it gets the content. An engine locks a container while it streams it, so the reader cannot
    open a second archive for that content meanwhile. Instead the first walk ends at such a link. A second walk finds all such
    links. A third one continues where the first ended, and keeps the contents that they need in a temporary file.
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
                if wanted.external_link(entry):
                    done = number
                    break
                if wanted.takes(entry):
                    yield entry, content
            else:
                return
        with closing(self.walk()) as archive:
            targets = {entry.target for entry, _ in archive if wanted.external_link(entry)}
        with _Originals(targets) as originals:
            yield from self._rest(wanted, done, originals)

    def _rest(self, wanted: _Wanted, done: int, originals: _Originals) -> Generator[tuple[Entry, Readable]]:
        """Yield what follows the first ``done`` entries of the archive."""
        first_names: dict[tuple[str, str], str] = {}
        with closing(self.walk()) as archive:
            for number, (entry, content) in enumerate(archive):
                if entry.path in originals.paths and entry.kind is not Kind.HARD_LINK:
                    content = originals.keep(entry, content)
                if number < done or not wanted.takes(entry):
                    continue
                if not (export := wanted.external_link(entry)):
                    yield entry, content
                elif (first := first_names.setdefault((export, entry.target), entry.path)) != entry.path:
                    yield replace(entry, target=first), NOTHING
                else:
                    yield originals.under(entry)

    def walk(self) -> Generator[tuple[Entry, Readable]]:
        """Yield everything in the container, in the order of the archive."""
        with self._open("/") as stream:
            yield from read_archive(stream, "the container")

    def _refuse_mounts(self, exports: Sequence[str]) -> None:
        if hidden := [mount for mount in self._mounts if any(paths.overlap(mount, export) for export in exports)]:
            raise ModelError(
                f"{paths.encode(hidden[0])} is a mount, which can be read unchanged on this engine only while the container runs, "
                "by root on the engine's host, without a user namespace",
                hint="Start the container and run this command as root on that host, or keep state out of mounts.",
            )


class _Wanted:
    """The exports, and the directories above them."""

    def __init__(self, exports: Sequence[str]) -> None:
        self._exports = frozenset(exports)
        self._above = frozenset(directory for export in exports for directory in paths.ancestors(export))

    def takes(self, entry: Entry) -> bool:
        return entry.path in self._above or bool(paths.top_of(entry.path, self._exports))

    def external_link(self, entry: Entry) -> str:
        """Return the export of a hard link whose target is outside of it; empty for any other entry."""
        export = paths.top_of(entry.path, self._exports) if entry.kind is Kind.HARD_LINK else ""
        return export if export and not paths.is_within(entry.target, export) else ""


class _Originals:
    """Files that hard links in an export need, kept in a temporary file."""

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
        """Copy a content; returns the copy."""
        start = self._size
        while block := content.read(BLOCK):
            with disk_errors(_COPY):
                self._file.write(block)
            self._size += len(block)
        self._kept[entry.path] = entry, start
        return _Kept(self._file.fileno(), start, entry.size)

    def under(self, link: Entry) -> tuple[Entry, Readable]:
        """Return the target of a link, under the name of the link."""
        if link.target not in self._kept:
            raise incomplete("the container", f"{link.target!r}, the target of the link {link.path!r}, is missing")
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
        with disk_errors(_COPY):
            data = os.pread(self._descriptor, min(left, size if size >= 0 else left), self._at)
        self._at += len(data)
        return data


def changes(before: Iterator[tuple[Entry, Readable]], now: Iterator[tuple[Entry, Readable]]) -> dict[str, str]:
    """Return the differences between the archives of two containers by path: ``added``, ``changed`` or ``deleted``.

    Both have the same walking order. A file with another content has another size or time.
    """
    differences: dict[str, str] = {}
    old, new = next(before, None), next(now, None)
    while old or new:
        old_key, new_key = (paths.sort_key(it[0].path) if it else None for it in (old, new))
        if new_key is None or (old_key is not None and old_key < new_key):
            assert old
            differences[old[0].path] = "deleted"
            old = next(before, None)
        elif old_key is None or new_key < old_key:
            assert new
            differences[new[0].path] = "added"
            new = next(now, None)
        else:
            assert old
            assert new
            if old[0] != new[0]:
                differences[new[0].path] = "changed"
            old, new = next(before, None), next(now, None)
    return differences
