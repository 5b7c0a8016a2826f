"""Reading a model that goes on working while it is read: everything twice, and the second time it must be the same.

Each entry then was as it was captured from its first reading to its second, so that all of them
were so together at the moment between the two: the capture is the state of that moment. Engines tell
times in whole seconds; a change that follows the first reading shows in them, as the second one
begins in a later second.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import zip_longest

from bundler.errors import ModelError, disk_errors
from bundler.format import paths
from bundler.format.fingerprint import Fingerprint, path_of
from bundler.format.tar import Entry
from bundler.ports import PathInfo, Reader
from bundler.streams import Progress, Readable

A_LATER_SECOND = 1.05
"""Seconds after which a clock of whole seconds has moved on, also one that is not quite like ours."""


_HINT = "Pause the model while it is read (without --no-pause), or run the command again."


class UnpausedReader:
    """A reader that lets no change pass: its walk ends with `ModelError` when a second walk gives anything else.

    Paths that are ``ignored`` may change, as no capture takes them. ``between`` is called at the moment
    that the capture is of. With ``twice`` only these exports are read a second time. ``hint`` is that of the error.
    """

    def __init__(
        self,
        reader: Reader,
        ignored: Callable[[str], bool],
        between: Callable[[], None],
        progress: Progress,
        *,
        twice: Sequence[str] | None = None,
        hint: str = _HINT,
    ) -> None:
        self._twice = twice
        self._hint = hint
        self._reader = reader
        self._ignored = ignored
        self._between = between
        self._progress = progress

    @property
    def sees_all(self) -> bool:
        return self._reader.sees_all

    def stat(self, path: str) -> PathInfo | None:
        return self._reader.stat(path)

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        with tempfile.TemporaryFile("w+", encoding="ascii") as seen:
            with closing(self._reader.entries(exports)) as entries:
                for entry, content in entries:
                    fingerprint = Fingerprint(entry, content)
                    yield entry, fingerprint
                    if self._counts(entry.path):
                        with disk_errors("the notes of what was read"):
                            seen.write(fingerprint.note())
            with disk_errors("the notes of what was read"):
                seen.seek(0)
            self._progress.stage("reading once more, to see that nothing changed")
            time.sleep(A_LATER_SECOND)
            self._between()
            again = exports if self._twice is None else self._twice
            for first, second in zip_longest(seen, self._notes(again), fillvalue=""):
                if first != second:
                    raise ModelError(f"{paths.encode(path_of(first or second))} changed while it was read", hint=self._hint)

    def _notes(self, exports: Sequence[str]) -> Iterator[str]:
        with closing(self._reader.entries(exports)) as entries:
            for entry, content in entries:
                if self._counts(entry.path):
                    yield Fingerprint(entry, content).note()

    def _counts(self, path: str) -> bool:
        """Whether an entry must be the same at both readings."""
        if self._ignored(path):
            return False
        return self._twice is None or any(paths.overlap(path, export) for export in self._twice)
