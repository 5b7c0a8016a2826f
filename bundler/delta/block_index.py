"""Find where blocks of an old content stand in a new one.

The old content is hashed at multiples of a stride only, the new one at every byte, as rsync and xdelta do. Equal content of
``stride + WINDOW`` bytes has a common hash. The stride grows with the content, so that an index takes at most 48 MiB.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

WINDOW = 32
"""Bytes that a hash is made of."""
MAX_BLOCKS = 4 << 20
"""Blocks of one index, at most: eight bytes each, and four of the bitmap."""

_WORD = 8
_NUMBER_BITS = 24  # of a key: the number of the block; the others are its hash
_BITS_PER_BLOCK = 5  # binary logarithm: 32 bits of the bitmap for each block
_HASH = np.uint64(-1 << _NUMBER_BITS & (1 << 64) - 1)
_FACTORS = [np.uint64(pow(0x9E3779B97F4A7C15, power, 1 << 64)) for power in range(1, WINDOW // _WORD + 1)]

_Bytes = npt.NDArray[np.uint8]
_Words = npt.NDArray[np.uint64]


def stride_of(size: int, least: int) -> int:
    """Return the distance between blocks for a content of this size, a multiple of eight bytes."""
    return max(least, -(-size // (MAX_BLOCKS * _WORD)) * _WORD)


class BlockIndex:
    """The hashes of the windows that begin at multiples of ``stride`` in a content.

    The content has ``size`` bytes and begins at ``base`` of the old file. It is given as pieces: the place of each in the content,
    a multiple of the stride, and its bytes. Keys are a hash and the number of a block, and are sorted.
    The bitmap has a bit for each first part of a hash, and tells of most bytes of a new content that no block begins there.
    """

    def __init__(self, pieces: Iterable[tuple[int, _Bytes]], stride: int, size: int, base: int = 0) -> None:
        self._stride = stride
        self._base = base
        self._keys = np.empty(size // stride + 1, np.uint64)
        count = 0
        for begin, content in pieces:
            keys = _keys(begin // stride, content, stride)
            self._keys[count : count + len(keys)] = keys
            count += len(keys)
        self._keys = self._keys[:count]
        self._keys.sort()
        self._shift = 64 - max(len(self._keys).bit_length() + _BITS_PER_BLOCK, 8)
        self._bitmap = self._bits()

    def _bits(self) -> _Bytes:
        bitmap = np.zeros(1 << (64 - self._shift - 3), np.uint8)
        for begin in range(0, len(self._keys), 1 << 18):
            bits = self._keys[begin : begin + (1 << 18)] >> np.uint64(self._shift)
            places = bits >> np.uint64(3)
            firsts = np.flatnonzero(np.diff(places, prepend=places[:1] + np.uint64(1)))
            bitmap[places[firsts]] |= np.bitwise_or.reduceat(_bit(bits), firsts)
        return bitmap

    def find(self, new: _Bytes) -> tuple[list[int], list[int]]:
        """Return places of a new content that have the hash of a block, ascending, and for each the position of its first key."""
        keys = _rolling(new)
        bits = keys >> np.uint64(self._shift)
        places = np.flatnonzero((self._bitmap.take((bits >> np.uint64(3)).view(np.int64)) & _bit(bits)) != 0)
        order = np.argsort(keys[places])  # a search for sorted keys is several times faster
        places = places[order]
        keys = keys[places]
        first = np.searchsorted(self._keys, keys)
        found = self._keys.take(first, mode="clip") & _HASH == keys
        places, first = places[found], first[found]
        order = np.argsort(places)
        return places[order].tolist(), first[order].tolist()

    def candidates(self, first: int, place: int) -> list[int]:
        """Return blocks with one hash, by the position of its first key: those next to a place in the old file, and the first."""
        keys = self._keys[first : first + 2].tolist()
        key = keys[0] >> _NUMBER_BITS
        if len(keys) == 2 and keys[1] >> _NUMBER_BITS == key:
            number = min(max((place - self._base) // self._stride, 0), (1 << _NUMBER_BITS) - 1)
            at = int(self._keys.searchsorted(np.uint64(key << _NUMBER_BITS | number)))
            around = self._keys[max(at - 1, first) : at + 1].tolist()
            keys = dict.fromkeys([it for it in around if it >> _NUMBER_BITS == key] + keys[:1])
        else:
            keys = keys[:1]
        return [self._base + (it & ((1 << _NUMBER_BITS) - 1)) * self._stride for it in keys]


def _keys(number: int, content: _Bytes, stride: int) -> _Words:
    """The keys of a piece whose first block has this number."""
    words = content[: len(content) // _WORD * _WORD].view(np.uint64)
    step = stride // _WORD
    count = max(0, (len(words) - WINDOW // _WORD) // step + 1)
    hashes = _hash([words[at : at + (count - 1) * step + 1 : step] if count else words[:0] for at in range(WINDOW // _WORD)])
    return hashes | np.arange(number, number + count, dtype=np.uint64)


def _rolling(content: _Bytes) -> _Words:
    """The keys of the windows at every byte, with the block number 0."""
    count = len(content) - WINDOW + 1
    if count <= 0:
        return np.empty(0, np.uint64)
    words = np.ndarray(len(content) - _WORD + 1, np.uint64, content.data, strides=(1,)).copy()
    return _hash([words[at : at + count] for at in range(0, WINDOW, _WORD)])


def _hash(words: list[_Words]) -> _Words:
    """Hash windows, given as their first words, their second words and so on; the place of the block number is zero."""
    total = words[0] * _FACTORS[0]
    for column, factor in zip(words[1:], _FACTORS[1:], strict=True):
        total += column * factor
    total &= _HASH
    return total


def _bit(bits: _Words) -> _Bytes:
    return np.left_shift(np.uint8(1), (bits & np.uint64(7)).astype(np.uint8))
