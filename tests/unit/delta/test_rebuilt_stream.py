"""The stream of a rebuilt blob: all of it or an error, and it ends when its reader does."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from bundler.delta.rebuilt_stream import RebuiltStream
from bundler.errors import IntegrityError
from bundler.format import artifact
from bundler.format.content import Descriptor
from bundler.format.layer_writer import Blob
from bundler.streams import drain

BLOCKS = [bytes([number]) * 1000 for number in range(50)]
WHOLE = b"".join(BLOCKS)
EXPECTED = Descriptor.of(artifact.LAYER, WHOLE)


def read_to_the_end(expected: Descriptor, produce: Callable[[Blob], object], size: int, found: bytearray) -> None:
    with RebuiltStream(expected, produce) as stream:
        while data := stream.read(size):
            found += data


def writes(*blocks: bytes) -> Callable[[Blob], object]:
    def produce(blob: Blob) -> Descriptor:
        for block in blocks:
            blob.write(block)
        return blob.finish(artifact.LAYER)

    return produce


@pytest.mark.parametrize("size", [-1, 1, 999, 1 << 20])
def test_all_bytes_are_read(size: int) -> None:
    with RebuiltStream(EXPECTED, writes(*BLOCKS)) as stream:
        assert b"".join(iter(lambda: stream.read(size), b"")) == WHOLE


def test_nothing_is_made_before_the_first_read() -> None:
    with RebuiltStream(EXPECTED, lambda _: pytest.fail("made")):
        pass


@pytest.mark.parametrize(
    "blocks",
    [[*BLOCKS[:-1], b"x" * 1000], BLOCKS[:-1], [*BLOCKS, b"x"], [], [*BLOCKS[::-1]]],
    ids=["end", "short", "long", "none", "order"],
)
def test_the_last_bytes_of_another_blob_are_not_given(blocks: list[bytes]) -> None:
    found = bytearray()
    with pytest.raises(IntegrityError, match="was rebuilt with"):
        read_to_the_end(EXPECTED, writes(*blocks), 100, found)
    assert len(found) < len(WHOLE)


def test_a_blob_without_end_gives_no_more_bytes_than_expected() -> None:
    found = bytearray()
    with pytest.raises(IntegrityError, match="was rebuilt with 5000000"):
        read_to_the_end(EXPECTED, writes(*BLOCKS * 100), 100, found)
    assert len(found) < EXPECTED.size


def test_a_size_that_is_wrong_is_refused() -> None:
    other = Descriptor(artifact.LAYER, EXPECTED.digest, EXPECTED.size + 1)
    with RebuiltStream(other, writes(*BLOCKS)) as stream, pytest.raises(IntegrityError, match="should have 50001 bytes"):
        drain(stream)


def test_an_error_of_the_producer_is_raised_by_a_read() -> None:
    def produce(blob: Blob) -> None:
        blob.write(b"some")
        blob.write(b"more")
        raise IntegrityError("the source is damaged")

    with RebuiltStream(EXPECTED, produce) as stream:
        assert stream.read(100) == b"some"
        with pytest.raises(IntegrityError, match="the source is damaged"):
            stream.read(100)


def test_an_error_after_the_last_bytes_comes_before_them() -> None:
    def produce(blob: Blob) -> None:
        writes(*BLOCKS)(blob)
        raise IntegrityError("another diff ID")

    found = bytearray()
    with pytest.raises(IntegrityError, match="another diff ID"):
        read_to_the_end(EXPECTED, produce, 1 << 20, found)
    assert len(found) < len(WHOLE)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("read", [0, 1, 20])
def test_a_reader_that_closes_early_ends_the_producer(read: int) -> None:
    ended = threading.Event()

    def produce(blob: Blob) -> None:
        try:
            for _ in range(1_000_000):
                blob.write(BLOCKS[1])
        finally:
            ended.set()

    with RebuiltStream(EXPECTED, produce) as stream:
        for _ in range(read):
            stream.read(1000)
    assert ended.is_set() == bool(read)
    assert "rebuild" not in {thread.name for thread in threading.enumerate()}
