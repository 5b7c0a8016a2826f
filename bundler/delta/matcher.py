"""Match a new file with an old one: find what they have in common, and write the rest.

Each step handles what the one before left over:
1. Bytes at the same distance as the last match are copied; most changes leave content where it was.
2. Differences are added byte by byte where they compress better than the content: numbers that changed a little.
3. Content that moved is found by anchors.

An anchor is a window of `WINDOW` bytes, chosen by the value of its hash, so that both files choose the same windows wherever
they are. The anchors of the whole old file are in memory: the longer the file, the fewer per byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import zstandard

from bundler.delta import tar_diff
from bundler.delta.tar_diff import SourceFile

WINDOW = 32
"""Bytes that an anchor is hashed over."""
MAX_ANCHORS = 2 << 20
"""Anchors of one old file that are held, at most: twelve bytes each."""
CANDIDATES = 4
"""Places in the old file that are held of equal anchors."""

_BLOCK = 1 << 20
_STEP = 256
_GAP = 32  # equal bytes between two differences that are worth an operation of their own
_SHORT = 256  # bytes of a difference that is written as one: to write the content takes a seek as well
_MOST_RUNS = 1500  # differences of a chunk above which it is written as one
_ALIKE = 0.25  # of a chunk's bytes are equal when it stands where it was
_DENSE = 0.6  # of its size is what content takes, when compressed, that numbers could be
_WORTH = 0.9  # of that is what their differences may take
_LONG = 64 << 10  # bytes of a difference for which the whole old file is searched
_DENSEST = 6  # an anchor in 2^6 bytes
_MULTIPLIER = 0x9E3779B1

_Bytes = npt.NDArray[np.uint8]
_Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Match:
    """``size`` bytes of the new chunk from ``new`` on, which the old file has from ``old`` on."""

    new: int
    old: int
    size: int


class Matcher:
    """Writes the chunks of a new file, in their order, as operations on one old file that the writer has opened."""

    def __init__(self, old: SourceFile, writer: tar_diff.Writer) -> None:
        self._old = old
        self._writer = writer
        self._anchors: _Anchors | None = None
        self._shift = 0  # from a place in the new file to that in the old one
        self._begin = 0  # of the chunk in the new file
        self._measure = zstandard.ZstdCompressor(level=1)

    def add(self, chunk: bytes) -> None:
        """Write the next chunk, by what the old file has of it."""
        new = np.frombuffer(chunk, np.uint8)
        old = self._read(self._begin + self._shift, len(chunk))
        if np.count_nonzero(new[: len(old)] == old) >= _ALIKE * len(new):
            self._in_place(new, old)
        else:
            self._moved(new, 0)
        self._begin += len(chunk)

    def same(self, size: int) -> None:
        """Write the next chunk, of ``size`` bytes, which the old file has at the same place."""
        self._writer.seek(self._begin)
        self._writer.copy(size)
        self._shift = 0
        self._begin += size

    def _read(self, position: int, size: int) -> _Bytes:
        """What the old file has there: all, less at its end, or nothing."""
        if position < 0 or position >= self._old.size:
            return np.empty(0, np.uint8)
        return np.frombuffer(self._old.read_at(position, min(size, self._old.size - position)), np.uint8)

    def _is_near(self, new: _Bytes, old: _Bytes) -> bool:
        """Whether the content hardly compresses and its difference does: numbers that changed a little, not text that moved."""
        content = self._compressed(new)
        return content > _DENSE * len(new) and self._compressed(new - old) < _WORTH * content

    def _compressed(self, content: _Bytes) -> int:
        return len(self._measure.compress(content.tobytes()))

    def _in_place(self, new: _Bytes, old: _Bytes) -> None:
        """Write what stands where it was, with the differences in it."""
        common = len(old)
        runs = list(_runs(np.flatnonzero(new[:common] != old)))
        if len(runs) > _MOST_RUNS:
            runs = [(runs[0][0], runs[-1][1])]
        done = 0
        shift = self._shift
        for begin, end in runs:
            self._copy(done, shift, begin - done)
            self._different(new[begin:end], old[begin:end], begin, shift)
            done = end
        self._copy(done, shift, common - done)
        if common < len(new):
            self._moved(new[common:], common)

    def _copy(self, start: int, shift: int, size: int) -> None:
        if size:
            self._writer.seek(self._begin + start + shift)
            self._writer.copy(size)

    def _different(self, new: _Bytes, old: _Bytes, start: int, shift: int) -> None:
        if len(new) < _SHORT or self._is_near(new, old):
            self._writer.seek(self._begin + start + shift)
            self._writer.add(tar_diff.subtract(new.data, old.data))
        elif len(new) < _LONG:
            self._writer.data(new.tobytes())
        else:
            self._moved(new, start)

    def _moved(self, new: _Bytes, start: int) -> None:
        """Write content by the matches that anchors find, and what is between them as it is."""
        done = 0
        for match in self._matches(new, start):
            if match.new > done:
                self._writer.data(new[done : match.new].tobytes())
            self._writer.seek(match.old)
            self._writer.copy(match.size)
            self._shift = match.old - self._begin - start - match.new
            done = match.new + match.size
        if done < len(new):
            self._writer.data(new[done:].tobytes())

    def _matches(self, new: _Bytes, start: int) -> Iterator[_Match]:
        """Matches in their order, none overlapping another; each as long as it can be."""
        if self._anchors is None:
            self._anchors = _Anchors(self._old)
        done = 0
        shift = self._shift + self._begin + start
        for place, candidates in self._anchors.find(new):
            if place < done:
                continue
            nearest = shift + place
            old = nearest if nearest in candidates else candidates[0]
            match = self._extended(new, done, place, old)
            if match:
                yield match
                done = match.new + match.size
                shift = match.old - match.new

    def _extended(self, new: _Bytes, done: int, place: int, old: int) -> _Match | None:
        """The match around an anchor; None where only its hash is equal."""
        after = self._equal_after(new[place:], old)
        if after < WINDOW:
            return None
        before = self._equal_before(new[done:place], old)
        return _Match(place - before, old - before, before + after)

    def _equal_after(self, new: _Bytes, old: int) -> int:
        """How many bytes from the begin on are those of the old file from ``old`` on; looked at in steps that grow."""
        done, step = 0, _STEP
        while done < len(new):
            known = self._read(old + done, min(step, len(new) - done))
            different = new[done : done + len(known)] != known
            if different.any():
                return done + int(different.argmax())
            done += len(known)
            if len(known) < step:
                break
            step = min(2 * step, _BLOCK)
        return done

    def _equal_before(self, new: _Bytes, old: int) -> int:
        """How many bytes at the end are those of the old file before ``old``."""
        done, step, most = 0, _STEP, min(len(new), old)
        while done < most:
            size = min(step, most - done)
            known = self._read(old - done - size, size)
            different = (new[len(new) - done - size : len(new) - done] != known)[::-1]
            if different.any():
                return done + int(different.argmax())
            done += size
            step = min(2 * step, _BLOCK)
        return done


class _Anchors:
    """The anchors of a file, sorted by their hashes."""

    def __init__(self, file: SourceFile) -> None:
        self._bits = max(_DENSEST, (file.size // MAX_ANCHORS).bit_length())
        hashes, places = [np.empty(0, np.uint32)], [np.empty(0, np.int64)]
        for begin in range(0, file.size, _BLOCK):
            content = np.frombuffer(file.read_at(begin, min(_BLOCK + WINDOW - 1, file.size - begin)), np.uint8)
            found, values = _chosen(content, self._bits)
            kept = _first_of_each(values)
            hashes.append(values[kept])
            places.append(found[kept] + begin)
        values, found = np.concatenate(hashes), np.concatenate(places)
        order = np.argsort(values, kind="stable")
        values, found = values[order], found[order]
        kept = _first_of_sorted(values)
        self._hashes, self._places = values[kept], found[kept]

    def find(self, new: _Bytes) -> Iterator[tuple[int, list[int]]]:
        """The anchors of a new content that the file has: the place in it, and those in the file."""
        for begin in range(0, len(new), _BLOCK):
            places, values = _chosen(new[begin : begin + _BLOCK + WINDOW - 1], self._bits)
            first = np.searchsorted(self._hashes, values, "left")
            last = np.searchsorted(self._hashes, values, "right")
            for number in np.flatnonzero(first < last):
                yield int(places[number]) + begin, self._places[first[number] : last[number]].tolist()


def _chosen(content: _Bytes, bits: int) -> tuple[_Numbers, npt.NDArray[np.uint32]]:
    """Places of windows whose hash ends in so many zero bits, and these hashes."""
    if len(content) < WINDOW:
        return np.empty(0, np.int64), np.empty(0, np.uint32)
    hashes = content.astype(np.uint32)
    width, factor = 1, _MULTIPLIER
    while width < WINDOW:  # the hash of a window is made of those of its halves
        hashes = hashes[:-width] * np.uint32(factor) + hashes[width:]
        width, factor = 2 * width, factor * factor & 0xFFFFFFFF
    hashes ^= hashes >> np.uint32(15)
    hashes *= np.uint32(_MULTIPLIER)
    hashes ^= hashes >> np.uint32(13)
    places = np.flatnonzero((hashes & np.uint32((1 << bits) - 1)) == 0)
    return places, hashes[places]


def _first_of_each(values: npt.NDArray[np.uint32]) -> _Numbers:
    """Where the first `CANDIDATES` of each value are, in their order."""
    order = np.argsort(values, kind="stable")
    return np.sort(order[_first_of_sorted(values[order])])


def _first_of_sorted(values: npt.NDArray[np.uint32]) -> _Numbers:
    if not len(values):
        return np.empty(0, np.int64)
    begins = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
    rank = np.arange(len(values)) - np.repeat(begins, np.diff(np.append(begins, len(values))))
    return np.flatnonzero(rank < CANDIDATES)


def _runs(places: _Numbers) -> Iterator[tuple[int, int]]:
    """Differences at these places as runs, each from its first to behind its last byte; equal bytes between them are many."""
    if len(places):
        breaks = np.flatnonzero(np.diff(places) > _GAP)
        begins = places[np.concatenate(([0], breaks + 1))]
        ends = places[np.concatenate((breaks, [len(places) - 1]))] + 1
        yield from zip(begins.tolist(), ends.tolist(), strict=True)
