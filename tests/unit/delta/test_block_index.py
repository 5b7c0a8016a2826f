"""The index of an old content: every block is found wherever it stands in a new one."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.delta import block_index
from bundler.delta.block_index import WINDOW, BlockIndex, stride_of

OLD = np.frombuffer(random.Random(1).randbytes(10_000), np.uint8)


def index(old: npt.NDArray[np.uint8], stride: int = 16, base: int = 0) -> BlockIndex:
    return BlockIndex([(0, old)], stride, len(old), base)


@pytest.mark.parametrize(("size", "stride"), [(0, 16), (64 << 20, 16), (168_329_216, 48), (8 << 30, 2048), (100 << 30, 25600)])
def test_the_stride_bounds_the_blocks(size: int, stride: int) -> None:
    assert stride_of(size, 16) == stride
    assert size // stride <= block_index.MAX_BLOCKS


@given(st.integers(0, 10_000 - WINDOW), st.integers(WINDOW, 3000), st.sampled_from([8, 16, 48, 256]))
def test_every_block_in_a_part_of_the_content_is_found(begin: int, size: int, stride: int) -> None:
    part = OLD[begin : begin + size]
    places, first = (found := index(OLD, stride)).find(part)
    expected = [place - begin for place in range(-(-begin // stride) * stride, begin + len(part) - WINDOW + 1, stride)]
    assert places == expected
    assert [found.candidates(key, 0) for key in first] == [[begin + place] for place in places]


def test_unknown_content_is_not_found() -> None:
    other = np.frombuffer(random.Random(2).randbytes(100_000), np.uint8)
    assert index(OLD).find(other) == ([], [])


@pytest.mark.parametrize("size", [0, WINDOW - 1, WINDOW])
def test_contents_of_few_bytes(size: int) -> None:
    assert index(OLD[:size]).find(OLD)[0] == ([0] if size == WINDOW else [])
    assert index(OLD).find(OLD[:size])[0] == ([0] if size == WINDOW else [])


def test_of_equal_blocks_the_nearest_and_the_first_are_candidates() -> None:
    found = index(np.tile(OLD[:160], 4), 32, base=1000)
    places, first = found.find(OLD[:WINDOW])
    assert places == [0]
    assert found.candidates(first[0], 1300) == [1160, 1320, 1000]
    assert found.candidates(first[0], 0) == [1000]
    assert found.candidates(first[0], 5000) == [1480, 1000]


def test_pieces_are_places_of_one_content() -> None:
    pieces = [(0, OLD[:100]), (4096, OLD[4096:4200])]
    found = BlockIndex(pieces, 16, len(OLD))
    places, first = found.find(OLD[4090:4200])
    assert [found.candidates(key, 0) for key in first] == [[4090 + place] for place in places]
    assert places == [6, 22, 38, 54, 70]
