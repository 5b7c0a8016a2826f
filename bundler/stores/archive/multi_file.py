"""Consecutive pieces of bytes, read as one stream without joining them."""

from __future__ import annotations

import stat
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from bundler.errors import BundlerError, StoreError
from bundler.format.content import Digest
from bundler.streams import BLOCK, Stream


@dataclass(frozen=True)
class Volume:
    """One piece: its size in bytes, and a function that opens it at an offset."""

    size: int
    open: Callable[[int], Stream]


class Volumes:
    """Pieces in order; a plain file is one piece."""

    def __init__(self, volumes: Sequence[Volume]) -> None:
        self._volumes = volumes
        self._ends = list(accumulate(volume.size for volume in volumes))
        self.size = self._ends[-1] if volumes else 0

    def open(self, offset: int) -> Stream:
        """Open everything from an offset on."""
        return _Across(self._from(offset))

    def _from(self, offset: int) -> Iterator[tuple[Volume, int]]:
        """Yield the piece at an offset, with the offset in it, and all later pieces."""
        first = bisect_right(self._ends, offset)
        for number in range(first, len(self._volumes)):
            volume = self._volumes[number]
            yield volume, offset - self._ends[number] + volume.size if number == first else 0

    def check(self, manifests: Collection[Digest]) -> None:
        """Raise an error when the archive with these manifests is not the expected one."""

    def explain(self, error: BundlerError) -> BundlerError:
        """Return the error to raise for wrong content, such as one that names the damaged parts."""
        return error


def plain_size(path: Path) -> int:
    """Return the size of a plain file in bytes; raises ``FileNotFoundError``, and `StoreError` for a FIFO and the like."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} is not a plain file", hint="Use oci:DIR for a layout, and - for an archive in a pipe.")
    return found.st_size


def of_file(path: Path, size: int) -> Volume:
    """Return a file as a piece."""
    return Volume(size, lambda offset: _File(path, offset))


def limited(content: Stream, size: int) -> Stream:
    """Return a stream of the first ``size`` bytes of a stream."""
    return _Limited(content, size)


class _File(Stream):
    def __init__(self, path: Path, offset: int) -> None:
        self._file = path.open("rb")
        self._file.seek(offset)

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()


class _Limited(Stream):
    def __init__(self, content: Stream, size: int) -> None:
        self._content = content
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        data = self._content.read(min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._content.close()


class _Across(Stream):
    """Opens the pieces in turn, each when the previous one has been read."""

    def __init__(self, pieces: Iterator[tuple[Volume, int]]) -> None:
        self._pieces = pieces
        self._content: Stream | None = None
        self._left = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes; a piece that is too short ends the stream."""
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        while not self._left and self._next():
            pass
        data = self._content.read(min(size, self._left)) if self._content and self._left else b""
        self._left -= len(data)
        return data

    def _next(self) -> bool:
        self.close()
        volume, start = next(self._pieces, (None, 0))
        if volume:
            self._content, self._left = volume.open(start), volume.size - start
        return volume is not None

    def close(self) -> None:
        if self._content:
            self._content.close()
            self._content = None
