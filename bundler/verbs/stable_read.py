"""Stable read: read entries that may change twice, and fail unless both readings are equal.

An entry with equal readings did not change between them. So all entries had the captured state together at the moment
between the first walk and the second one. Engines report times in whole seconds. The second walk begins in a later second,
so that a change after the first reading shows in the times.
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
"""Seconds after which a clock of whole seconds shows another time, with a margin for another host's clock."""


_HINT = "Push without --no-pause, or run the command again."


class StableReader:
    """A reader that reads entries twice: its walk ends with `ModelError` when the second reading differs.

    Paths that are ``ignored`` may change, as they are not captured. ``between`` is called between the walks. With ``twice``
    only these exports are read a second time. ``hint`` is the hint of the error.
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
                        with disk_errors("the temporary list of entries"):
                            seen.write(fingerprint.note())
            with disk_errors("the temporary list of entries"):
                seen.seek(0)
            self._progress.stage("reading again to detect changes")
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
