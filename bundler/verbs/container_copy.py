"""Copy paths from an old container into a new one by the rules of ``docker cp``, and verify each copy."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import IO

from bundler.errors import ModelError, disk_errors
from bundler.format import paths, tar
from bundler.format.fingerprint import Fingerprint, path_of
from bundler.format.tar import Entry, Kind
from bundler.ports import Container, Engine, Reader
from bundler.streams import BLOCK, Progress
from bundler.verbs.mounts import hidden, on_tmpfs

MAX_TEXT = 64 << 20
"""Most characters of paths and reasons in the records of all requests."""

_NOTES = "the list of copied entries"


@dataclass(frozen=True)
class Copied:
    """The outcome of one request; ``error`` is empty after a complete copy. Sizes are in bytes."""

    source: str
    dest: str
    entries: int = 0
    size: int = 0
    left_out: int = 0
    error: str = ""


class Copier:
    """Copies paths of ``old``, which does not change, to paths of ``new``, which runs."""

    def __init__(self, old: Container, new: Container, engine: Engine, progress: Progress) -> None:
        self._old = old
        self._new = new
        self._engine = engine
        self._progress = progress
        self._old_files = engine.reader(old, "auto")
        self._new_files = engine.reader(new, "auto")
        self.done: list[Copied] = []
        self._text_size = 0

    def copy(self, source: str, dest: str) -> str:
        """Do one copy for the model; return an empty text, or why it failed.

        Raises `EngineError` when the engine fails.
        """
        if len(self.done) >= paths.MAX_PATHS:
            raise ModelError(f"the new model requested more than {paths.MAX_PATHS} copies", hint="Let it request directories.")
        try:
            copied = self._copy(source, dest)
        except ModelError as error:
            copied = Copied(source[: paths.MAX_LENGTH], dest[: paths.MAX_LENGTH], error=error.message)
        self._text_size += len(copied.source) + len(copied.dest) + len(copied.error)
        if self._text_size > MAX_TEXT:
            raise ModelError("the new model requested copies of too many long paths", hint="Let it request directories.")
        self.done.append(copied)
        return copied.error

    def _copy(self, source: str, dest: str) -> Copied:
        start, is_directory = self._find_source(source)
        target, missing = self._find_target(dest, start.rpartition("/")[2])
        existing = self._new_files.stat(target)
        if existing and existing.is_directory != is_directory:
            one, other = ("a directory", "a file") if is_directory else ("a file", "a directory")
            raise ModelError(f"{one} cannot overwrite {paths.encode(target)}, which is {other} in the new container")
        self._progress.stage(f"copying {paths.encode(source)} to {paths.encode(target)}")
        with tempfile.TemporaryFile("w+", encoding="ascii") as notes:
            transfer = _Transfer(start, target, hidden(self._old), notes, self._progress)
            self._engine.put(self._new, transfer.archive(self._old_files, missing))
            with disk_errors(_NOTES):
                notes.seek(0)
            self._check(target, notes)
        return Copied(source, dest, transfer.entries, transfer.size, transfer.left_out)

    def _find_source(self, source: str) -> tuple[str, bool]:
        """Return the resolved path of a source, and whether it is a directory."""
        _refuse(source, paths.fault(source))
        start = paths.resolve(source.removesuffix("/"), _link_reader(self._old_files))
        _refuse(source, paths.fault(start))
        if on_tmpfs(self._old, start):
            raise ModelError(f"{paths.encode(source)} lies on a tmpfs of the old container")
        info = self._old_files.stat(start)
        if info is None:
            raise ModelError(f"{paths.encode(source)} does not exist in the old container")
        return start, info.is_directory

    def _find_target(self, dest: str, name: str) -> tuple[str, list[str]]:
        """Return the path that a copy is written to, and the missing directories above it."""
        if dest != "/":
            _refuse(dest, paths.fault(dest))
        stat = self._new_files.stat
        target = self._follow(dest.rstrip("/"))
        if target == "/" or dest.endswith("/") or ((info := stat(target)) and info.is_directory):
            target = paths.join(target, name)
        _refuse(dest, paths.fault(target) or _whiteout_fault(target))
        if on_tmpfs(self._new, target):
            raise ModelError(f"{paths.encode(dest)} lies on a tmpfs of the new container, which is not committed")
        missing = []
        for above in paths.ancestors(target):
            info = stat(above)
            if info is None:
                missing.append(above)
            elif not info.is_directory:
                raise ModelError(f"{paths.encode(above)} is no directory in the new container")
        return target, missing

    def _follow(self, dest: str) -> str:
        """Resolve a path and the symlinks in it, also when it is one itself."""
        read_link = _link_reader(self._new_files)
        for _ in range(paths.MAX_LINKS):
            dest = paths.resolve(dest, read_link)
            link = read_link(dest) if dest != "/" else None
            if link is None:
                return dest
            dest = link if link.startswith("/") else f"{dest.rpartition('/')[0]}/{link}"
        raise ModelError(f"{paths.encode(dest)} goes through a loop of symbolic links in the new container")

    def _check(self, target: str, notes: IO[str]) -> None:
        """Read back what was written, because an engine reports success also for half an archive."""
        expected = next(notes, "")
        with closing(self._new_files.entries([target])) as entries:
            for entry, content in entries:
                if expected and entry.path == path_of(expected):
                    if Fingerprint(entry, content).note() != expected:
                        break
                    expected = next(notes, "")
        if expected:
            raise ModelError(f"{paths.encode(path_of(expected))} is not in the new container as it was sent")


class _Transfer:
    """One copy: the entries at and below ``start``, as a tar with ``target`` in place of ``start``."""

    def __init__(self, start: str, target: str, hidden: Callable[[str], bool], notes: IO[str], progress: Progress) -> None:
        self._start = start
        self._target = target
        self._hidden = hidden
        self._notes = notes
        self._progress = progress
        self._skipped: set[str] = set()
        self.entries = self.size = self.left_out = 0

    def archive(self, reader: Reader, missing: list[str]) -> Iterator[bytes]:
        for path in missing:
            yield tar.encode(Entry(path, Kind.DIRECTORY, 0o755, 0, 0, int(time.time())))
        with closing(reader.entries([self._start])) as entries:
            for entry, content in entries:
                if not paths.is_within(entry.path, self._start) or self._leave_out(entry):
                    continue
                moved = tar.reroot(entry, self._start, self._target)
                _refuse(moved.path, _whiteout_fault(moved.path))
                fingerprint = Fingerprint(moved, content)
                yield tar.encode(moved)
                left = moved.size
                while block := fingerprint.read(min(left, BLOCK)):
                    yield block
                    self._progress.advance(len(block))
                    left -= len(block)
                yield tar.padding(moved.size)
                self.entries += 1
                self.size += moved.size
                with disk_errors(_NOTES):
                    self._notes.write(fingerprint.note())
        yield tar.TRAILER

    def _leave_out(self, entry: Entry) -> bool:
        """Whether to omit an entry: hidden by a mount, or no state (FIFOs, sockets, devices and hard links to these)."""
        if self._hidden(entry.path):
            self._skipped.add(entry.path)
            return True
        linked = entry.kind is Kind.HARD_LINK and entry.target in self._skipped
        if entry.kind in tar.STATE_KINDS and not linked:
            return False
        self._skipped.add(entry.path)
        self.left_out += 1
        return True


def _link_reader(reader: Reader) -> Callable[[str], str | None]:
    def read_link(path: str) -> str | None:
        info = reader.stat(path)
        return info.link_target if info else None

    return read_link


def _whiteout_fault(path: str) -> str:
    return f"cannot be part of an image: {tar.WHITEOUT} means a deletion there" if f"/{tar.WHITEOUT}" in path else ""


def _refuse(path: str, fault: str) -> None:
    if fault:
        raise ModelError(f"{paths.encode(path)[:200]!r} {fault}")
