"""Paused read: read a paused container, and fail with `ModelError` when an entry changes meanwhile.

A pause does not stop all writers: another container with the same volume and any process of the host can still write. A reader
with stat(2) compares its results before and after, as the time of change (``ctime``) of an entry cannot be set. One without
reads the mounts twice, as without a pause.
"""

from __future__ import annotations

import ast
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import zip_longest

from bundler.errors import ModelError, disk_errors
from bundler.format import paths
from bundler.format.tar import Entry
from bundler.ports import Container, PathInfo, Reader, Seen, Surveyor
from bundler.streams import Progress, Readable
from bundler.verbs.mounts import mounted
from bundler.verbs.stable_read import StableReader

A_LATER_TICK = 0.02
"""Seconds after which the kernel's clock for file times has ticked: ticks are at most 10 ms apart.

Two changes within one tick have the same time. After this wait every later change has another time.
"""

_NOTES = "the temporary list of entries"
_HINT = (
    "Stop other writers, which the pause does not stop: another container with the same volume, or a process of the host. "
    "Then run the command again."
)
_FACTS = ("type or mode", "size", "time of modification", "time of change", "inode")


def paused_reader(
    reader: Reader, container: Container, exports: Sequence[str], ignored: Callable[[str], bool], progress: Progress
) -> Reader:
    """A reader of a paused container that detects changes; paths that are ``ignored`` may change."""
    if isinstance(reader, Surveyor):
        return SurveyedReader(reader, reader, ignored, progress)
    if twice := [export for export in exports if mounted(container, export)]:
        return StableReader(reader, ignored, lambda: None, progress, twice=twice, hint=_HINT)
    return reader


class SurveyedReader:
    """A reader that compares what stat(2) reports of all entries before and after its walk."""

    def __init__(self, reader: Reader, surveyor: Surveyor, ignored: Callable[[str], bool], progress: Progress) -> None:
        self._reader = reader
        self._surveyor = surveyor
        self._ignored = ignored
        self._progress = progress

    @property
    def sees_all(self) -> bool:
        return self._reader.sees_all

    def stat(self, path: str) -> PathInfo | None:
        return self._reader.stat(path)

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        with tempfile.TemporaryFile("w+", encoding="ascii") as notes:
            with disk_errors(_NOTES):
                notes.writelines(self._notes(exports))
                notes.seek(0)
            time.sleep(A_LATER_TICK)
            with closing(self._reader.entries(exports)) as entries:
                yield from entries
            self._progress.note("checking for changes during the pause")
            for before, after in zip_longest(notes, self._notes(exports), fillvalue=""):
                if before != after:
                    raise _changed(before, after)

    def _notes(self, exports: Sequence[str]) -> Iterator[str]:
        for seen in self._surveyor.survey(exports, self._ignored):
            yield _note(seen)


def _note(seen: Seen) -> str:
    return f"{seen.mode} {seen.length} {seen.modified} {seen.changed} {seen.inode} {seen.path!a}\n"


def _changed(before: str, after: str) -> ModelError:
    """Return the error for the first difference of two walks; an empty note means the end of a walk."""
    one, other = _read(before), _read(after)
    if one and other and one[0] == other[0]:
        facts = ", ".join(fact for fact, was, now in zip(_FACTS, one[1], other[1], strict=True) if was != now)
        return ModelError(f"{paths.encode(one[0])} changed while the model was paused ({facts})", hint=_HINT)
    path = min((note[0] for note in (one, other) if note), key=paths.sort_key)
    what = "disappeared" if one and path == one[0] else "appeared"
    return ModelError(f"{paths.encode(path)} {what} while the model was paused", hint=_HINT)


def _read(note: str) -> tuple[str, list[str]] | None:
    if not note:
        return None
    *facts, path = note.split(" ", len(_FACTS))
    return ast.literal_eval(path), facts
