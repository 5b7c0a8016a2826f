"""Standard streams with defined failures: an unwritten result is an error, an unwritten message is ignored."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

from bundler.errors import disk_errors

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_CLOSED = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)
"""Modes of ``/dev/null`` for streams that the parent process closed: reading stdin and writing stdout fail (EBADF)."""


class ReaderGoneError(Exception):
    """The reader of standard output closed the pipe."""


class _Output(io.FileIO):
    """Standard output. After an error it drops all data, so that the flush at exit raises no second error."""

    _failed = False

    def write(self, data: ReadableBuffer, /) -> int:
        if self._failed:
            return memoryview(data).nbytes
        try:
            with disk_errors("standard output"):
                return self._written(data)
        except BaseException:
            self._failed = True
            raise

    def _written(self, data: ReadableBuffer) -> int:
        try:
            while (written := super().write(data)) is None:  # a pipe that the parent process made non-blocking is full
                select.select([], [self], [])
        except BrokenPipeError:
            raise ReaderGoneError from None
        return written


class _Messages(io.FileIO):
    """Standard error. Data that cannot be written is dropped."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            written = super().write(data)
        except OSError:
            written = None
        return memoryview(data).nbytes if written is None else written


def install() -> None:
    """Replace the standard streams of this process by these."""
    for number, flags in enumerate(_CLOSED):
        _fill(number, flags)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115, stays open until the process ends
    sys.stdout = _text(_Output(1, "wb", closefd=False), sys.stdout, line_buffering=os.isatty(1))
    sys.stderr = _text(_Messages(2, "wb", closefd=False), sys.stderr, line_buffering=True)


def _fill(number: int, flags: int) -> None:
    try:
        os.fstat(number)
    except OSError:  # all lower numbers are open, so open() returns this one
        os.open(os.devnull, flags)


def _text(raw: io.FileIO, former: TextIO | None, *, line_buffering: bool) -> TextIO:
    """Wrap a stream in the encoding of the former one; escape characters that the encoding does not have."""
    encoding = former.encoding if former else None
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=line_buffering)
