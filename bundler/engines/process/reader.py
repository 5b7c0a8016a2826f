"""The files of a process's container, read while the process lives."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from bundler.engines.direct_reader import DirectReader
from bundler.engines.process.identity import ProcessId
from bundler.errors import ModelError
from bundler.format.tar import Entry
from bundler.ports import PathInfo, Seen
from bundler.streams import Readable


class ProcessReader:
    """A direct reader whose walks end with `ModelError` when the process has ended: its files stay readable, but not as state."""

    sees_all = True

    def __init__(self, process: ProcessId, inner: DirectReader) -> None:
        self._process = process
        self._inner = inner

    def stat(self, path: str) -> PathInfo | None:
        return self._inner.stat(path)

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        self._check()
        yield from self._inner.entries(exports)
        self._check()

    def survey(self, exports: Sequence[str], ignored: Callable[[str], bool]) -> Generator[Seen]:
        return self._inner.survey(exports, ignored)

    def capacity(self) -> int:
        return self._inner.capacity()

    def _check(self) -> None:
        if not self._process.is_alive:
            raise ModelError(
                f"process {self._process.pid} ended while its files were read",
                hint="Start the model again, then run the command with its new PID.",
            )
