"""Match a new file with an old one: find what they have in common, and write the rest.

Each step handles what the step before left over:
1. Bytes at the same distance as the last match are copied. Most changes leave content where it was.
2. Differences are added byte by byte where they compress better than the content: numbers that changed a little.
3. Other differences are searched for in the old file, by an index of its blocks. In a large file, and where the content hardly
   compresses, a short difference is searched for only in what the old file has in place of the differences nearby: rows that
   moved in their page.

The index is built when the first difference needs it, and costs one reading of the old file.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import numpy.typing as npt
import zstandard

from bundler.delta import tar_diff
from bundler.delta.block_index import WINDOW, BlockIndex, stride_of
from bundler.delta.tar_diff import SourceFile

_BLOCK = 1 << 20  # bytes of the new file that are compared at once
_GAP = 32  # equal bytes between two differences that are worth an operation of their own
_SHORT = 64  # bytes of a difference that is not searched for: to write a match takes a seek as well
_LONG = 64 << 10  # bytes of a difference for which the whole old file is searched
_SMALL = 256 << 20  # bytes of an old file that is searched as a whole for every difference
_FINE = 16  # bytes between the blocks of an index, at least
_LEAST = 48  # bytes of a match: a shorter one takes as much as its content in a text
_PRICE = 256  # bytes of output for each difference or match: up to four operations, and a reader accepts one in 64 bytes
_MOST_RUNS = 1024  # differences of a block above which it is written as one
_ALIKE = 0.25  # of a block's bytes are equal when it stands where it was
_DENSE = 0.6  # of its size is what content takes, when compressed, that numbers could be
_WORTH = 0.9  # of that is what their differences may take
_FIRST_SEARCHED = 4 << 10  # bytes that are searched for at once, twice as many each time that nothing is found
_MOST_SEARCHED = 128 << 10
_PATIENCE = 1 << 20  # bytes without a match after which content is passed over: an eighth as much as was searched in vain
_FIRST_COMPARED = 256  # bytes that are compared at once, twice as many each time that they are equal
_CACHED = 64 << 10  # bytes of the old file that are read at once around a match
_MOST_CACHED = 256  # of these are held

_Bytes = npt.NDArray[np.uint8]
_Numbers = npt.NDArray[np.int64]
_Runs = list[tuple[int, int]]


@dataclass(frozen=True)
class _Match:
    """``size`` bytes of the new content from ``new`` on, which the old file has from ``old`` on."""

    new: int
    old: int
    size: int


_size = attrgetter("size")


class Matcher:
    """Writes the chunks of a new file, in their order, as operations on one old file that the writer has opened."""

    def __init__(self, old: SourceFile, writer: tar_diff.Writer) -> None:
        self._old = _Old(old)
        self._writer = writer
        self._index: BlockIndex | None = None
        self._shift = 0  # from a place in the new file to that in the old one
        self._begin = 0  # of the block in the new file
        self._spent = 0  # bytes of output that the operations so far need, so that a reader accepts them
        self._barren = 0  # bytes that were searched for since the last match
        self._measure = zstandard.ZstdCompressor(level=1)

    def add(self, chunk: bytes) -> None:
        """Write the next chunk, by what the old file has of it."""
        for begin in range(0, len(chunk), _BLOCK):
            new = np.frombuffer(chunk, np.uint8)[begin : begin + _BLOCK]
            old = self._old.read(self._begin + self._shift, len(new))
            places = _different_places(new[: len(old)], old)
            if len(old) - len(places) >= _ALIKE * len(new):
                self._in_place(new, old, _runs(places))
            else:
                self._moved(new, 0, self._whole_index())
            self._begin += len(new)

    def same(self, size: int) -> None:
        """Write the next chunk, of ``size`` bytes, which the old file has at the same place."""
        self._writer.seek(self._begin)
        self._writer.copy(size)
        self._shift = 0
        self._begin += size

    def _in_place(self, new: _Bytes, old: _Bytes, runs: _Runs) -> None:
        """Write what stands where it was, with the differences in it."""
        if len(runs) > min(_MOST_RUNS, max(1, len(new) // _PRICE)):
            runs = [(runs[0][0], runs[-1][1])]
        self._spent += _PRICE * len(runs)
        base = self._begin + self._shift
        nearby: BlockIndex | None = None
        done = 0
        for begin, end in runs:
            self._copy(base + done, begin - done)
            done = end
            size = end - begin
            content = self._compressed(new[begin:end]) if size >= _SHORT else 0
            is_dense = content > _DENSE * size
            if size < _SHORT or (is_dense and self._compressed(new[begin:end] - old[begin:end]) < _WORTH * content):
                self._add(new[begin:end], old[begin:end], base + begin)
            elif size < _LONG and (is_dense or self._old.size > _SMALL):
                nearby = nearby or _index_of_differences(old, runs, base)
                self._moved(new[begin:end], begin, nearby)
                self._shift = base - self._begin
            elif size < _LONG:
                self._moved(new[begin:end], begin, self._whole_index())
                self._shift = base - self._begin
            else:
                self._moved(new[begin:end], begin, self._whole_index())
        if done < len(old):
            self._copy(base + done, len(old) - done)
            self._shift = base - self._begin
        if len(old) < len(new):
            self._moved(new[len(old) :], len(old), self._whole_index())

    def _compressed(self, content: _Bytes) -> int:
        return len(self._measure.compress(content.data))

    def _copy(self, old: int, size: int) -> None:
        if size:
            self._writer.seek(old)
            self._writer.copy(size)

    def _add(self, new: _Bytes, old: _Bytes, place: int) -> None:
        self._writer.seek(place)
        self._writer.add(tar_diff.subtract(new.data, old.data))

    def _whole_index(self) -> BlockIndex:
        if self._index is None:
            size = self._old.size
            stride = stride_of(size, _FINE)
            step = _BLOCK // stride * stride
            pieces = ((begin, self._old.read(begin, step + WINDOW - 1)) for begin in range(0, size, step))
            self._index = BlockIndex(pieces, stride, size)
        return self._index

    def _moved(self, new: _Bytes, start: int, index: BlockIndex) -> None:
        """Write content by the matches of an index, and what is between them as it is or as differences."""
        done = 0
        for match in self._matches(new, start, index):
            gap = match.new - done
            if 0 < gap < _SHORT and match.old - match.new == self._shift + self._begin + start:
                self._add(new[done : match.new], self._old.read(match.old - gap, gap), match.old - gap)
            elif gap:
                self._writer.data(new[done : match.new].tobytes())
            self._copy(match.old, match.size)
            self._shift = match.old - match.new - self._begin - start
            done = match.new + match.size
        if done < len(new):
            self._writer.data(new[done:].tobytes())

    def _matches(self, new: _Bytes, start: int, index: BlockIndex) -> Iterator[_Match]:
        """Give matches in their order, none overlapping another; each as long as it can be."""
        shift = self._shift + self._begin + start
        done = begin = 0
        searched = _FIRST_SEARCHED
        while begin < len(new):
            places, found = index.find(new[begin : begin + searched + WINDOW - 1])
            at = bisect_left(places, done - begin)
            end = begin + searched
            searched = min(2 * searched, _MOST_SEARCHED)
            while at < len(places):
                place = begin + places[at]
                candidates = index.candidates(found[at], shift + place)
                match = max([self._extended(new, done, place, old) for old in candidates], key=_size)
                if match.size >= (_LEAST if self._spent <= self._begin + start + done else _PRICE):
                    yield match
                    self._spent += _PRICE
                    done = match.new + match.size
                    shift = match.old - match.new
                    searched = _FIRST_SEARCHED
                    self._barren = 0
                at = bisect_left(places, max(done, place + _FINE) - begin, at)
            self._barren += max(0, end - max(begin, done))
            passed_over = self._barren // 8 if self._barren > _PATIENCE else 0
            begin = max(end + passed_over, done)

    def _extended(self, new: _Bytes, done: int, place: int, old: int) -> _Match:
        """Return the match around a place and its candidate in the old file; it is empty where only the hashes are equal."""
        after = self._equal_after(new[place:], old)
        before = self._equal_before(new[done:place], old)
        return _Match(place - before, old - before, before + after)

    def _equal_after(self, new: _Bytes, old: int) -> int:
        """Count the first bytes that the old file has from ``old`` on; they are compared in steps that grow."""
        done, step = 0, _FIRST_COMPARED
        while done < len(new):
            known = self._old.after(old + done, min(step, len(new) - done))
            if not len(known):
                break
            different = _number(new[done : done + len(known)]) ^ _number(known)
            if different:
                return done + ((different & -different).bit_length() - 1) // 8
            done += len(known)
            step *= 2
        return done

    def _equal_before(self, new: _Bytes, old: int) -> int:
        """Count the last bytes that the old file has before ``old``."""
        done, step, most = 0, _FIRST_COMPARED, min(len(new), old)
        while done < most:
            known = self._old.before(old - done, min(step, most - done))
            end = len(new) - done
            different = _number(new[end - len(known) : end]) ^ _number(known)
            if different:
                return done + len(known) - (different.bit_length() + 7) // 8
            done += len(known)
            step *= 2
        return done


def _number(content: _Bytes) -> int:
    """The bytes as one number, the first ones lowest: two of them are compared faster than arrays where they are short."""
    return int.from_bytes(content.data, "little")


def _index_of_differences(old: _Bytes, runs: _Runs, base: int) -> BlockIndex:
    """Return the index of what the old block at ``base`` has where it differs."""
    places = [(begin // _FINE * _FINE, end) for begin, end in runs if end - begin >= _SHORT]
    return BlockIndex([(begin, old[begin : end + WINDOW]) for begin, end in places], _FINE, len(old), base)


class _Old:
    """A source file, with a cache of the blocks that were used last.

    The cache has no reference to this object: in a cycle it would stay in memory until the next garbage collection.
    """

    def __init__(self, file: SourceFile) -> None:
        self.size = file.size
        self.read = functools.partial(_read, file)
        self._block = functools.lru_cache(_MOST_CACHED)(lambda number: _read(file, number * _CACHED, _CACHED).copy())

    def after(self, position: int, size: int) -> _Bytes:
        """Return bytes from a place on, at most those up to the end of its block."""
        begin = position % _CACHED
        return self._block(position // _CACHED)[begin : begin + size]

    def before(self, position: int, size: int) -> _Bytes:
        """Return bytes before a place, at most those from the begin of their block on."""
        end = (position - 1) % _CACHED + 1
        return self._block((position - 1) // _CACHED)[max(0, end - size) : end]


def _read(file: SourceFile, position: int, size: int) -> _Bytes:
    """Return what a file has there: all, less at its end, or nothing."""
    if position < 0 or position >= file.size:
        return np.empty(0, np.uint8)
    return np.frombuffer(file.read_at(position, min(size, file.size - position)), np.uint8)


def _different_places(new: _Bytes, old: _Bytes) -> _Numbers:
    """Where two contents of one size differ; equal words are passed over."""
    size = len(new) // 8 * 8
    words = np.flatnonzero(new[:size].view(np.uint64) != old[:size].view(np.uint64))
    if len(words) > size // 64:
        return np.flatnonzero(new != old)
    different = new[:size].reshape(-1, 8)[words] != old[:size].reshape(-1, 8)[words]
    word, byte = np.nonzero(different)
    return np.concatenate([words[word] * 8 + byte, size + np.flatnonzero(new[size:] != old[size:])])


def _runs(places: _Numbers) -> _Runs:
    """Differences at these places as runs, each from its first to behind its last byte; equal bytes between them are many."""
    if not len(places):
        return []
    breaks = np.flatnonzero(np.diff(places) > _GAP)
    begins = places[np.concatenate(([0], breaks + 1))]
    ends = places[np.concatenate((breaks, [len(places) - 1]))] + 1
    return list(zip(begins.tolist(), ends.tolist(), strict=True))
