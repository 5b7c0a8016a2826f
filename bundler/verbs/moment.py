"""Readers of a paused container that end with `ModelError` unless all that they gave is of one moment.

A pause does not stop everything that can write: another container with the same volume, and any process of the host. A reader
that sees what stat(2) tells compares it before and after: the time of change (``ctime``) of an entry cannot be set. One that does
not see it reads what lies on mounts twice, as it is done without a pause.
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
from bundler.verbs.stable_read import UnpausedReader

A_LATER_TICK = 0.02
"""Seconds after which the clock by which a kernel sets times has moved on: ticks are 10 ms apart at most.

A change that follows the first walk within one tick of an earlier change has the same time. After this wait all changes show.
"""

_NOTES = "the notes of what was seen"
_HINT = (
    "The pause does not stop what writes there: another container with the same volume, or a process of the host. "
    "Stop it, then run the command again."
)
_FACTS = ("type or mode", "size", "time of modification", "time of change", "inode")


def paused_reader(
    reader: Reader, container: Container, exports: Sequence[str], ignored: Callable[[str], bool], progress: Progress
) -> Reader:
    """A reader of a paused container that sees whether anything changes; paths that are ``ignored`` may."""
    if isinstance(reader, Surveyor):
        return SurveyedReader(reader, reader, ignored, progress)
    if twice := [export for export in exports if mounted(container, export)]:
        return UnpausedReader(reader, ignored, lambda: None, progress, twice=twice, hint=_HINT)
    return reader


class SurveyedReader:
    """A reader whose walk is between two walks that read no content and must give the same."""

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
            self._progress.note("comparing what was read with what is there now")
            for before, after in zip_longest(notes, self._notes(exports), fillvalue=""):
                if before != after:
                    raise _changed(before, after)

    def _notes(self, exports: Sequence[str]) -> Iterator[str]:
        for seen in self._surveyor.survey(exports, self._ignored):
            yield _note(seen)


def _note(seen: Seen) -> str:
    return f"{seen.mode} {seen.length} {seen.modified} {seen.changed} {seen.inode} {seen.path!a}\n"


def _changed(before: str, after: str) -> ModelError:
    """The error for the first difference of two walks; an empty note means that a walk has ended."""
    one, other = _read(before), _read(after)
    if one and other and one[0] == other[0]:
        facts = ", ".join(fact for fact, was, now in zip(_FACTS, one[1], other[1], strict=True) if was != now)
        return ModelError(f"{paths.encode(one[0])} changed while the model was paused ({facts})", hint=_HINT)
    path = min((found[0] for found in (one, other) if found), key=paths.sort_key)
    what = "disappeared" if one and path == one[0] else "appeared"
    return ModelError(f"{paths.encode(path)} {what} while the model was paused", hint=_HINT)


def _read(note: str) -> tuple[str, list[str]] | None:
    if not note:
        return None
    *facts, path = note.split(" ", len(_FACTS))
    return ast.literal_eval(path), facts
