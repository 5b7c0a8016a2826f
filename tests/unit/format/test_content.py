from __future__ import annotations

import io

import pytest

from bundler.errors import IntegrityError, StoreError
from bundler.format.content import Descriptor, Digest, HashingWriter, VerifyingReader
from bundler.streams import BLOCK, read_exactly

DATA = b"content" * 1000
DESCRIPTOR = Descriptor.of("text/plain", DATA)


def read(data: bytes, expected: Descriptor = DESCRIPTOR, size: int = 100) -> bytes:
    reader = VerifyingReader(io.BytesIO(data), expected, "here")
    return b"".join(iter(lambda: reader.read(size), b""))


@pytest.mark.parametrize("size", [1, 7, 1000, len(DATA), len(DATA) + 1])
def test_right_bytes_pass(size: int) -> None:
    assert read(DATA, size=size) == DATA


def test_an_empty_blob_passes() -> None:
    assert read(b"", Descriptor.of("x", b"")) == b""


@pytest.mark.parametrize(
    ("data", "what"), [(DATA[:-1], "ends after"), (DATA + b"x", "is longer"), (b"C" + DATA[1:], "is damaged"), (b"", "ends after")]
)
def test_wrong_bytes_do_not(data: bytes, what: str) -> None:
    with pytest.raises(IntegrityError, match=what):
        read(data)


def test_the_last_bytes_are_not_handed_out_when_the_digest_is_wrong() -> None:
    reader = VerifyingReader(io.BytesIO(b"C" + DATA[1:]), DESCRIPTOR, "here")
    with pytest.raises(IntegrityError):
        reader.read(len(DATA))


def test_a_bad_sector_is_a_store_error() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            del size
            raise OSError(5, "Input/output error")

    with pytest.raises(StoreError, match="Input/output error"):
        VerifyingReader(Broken(), DESCRIPTOR, "here").read(1)


@pytest.mark.parametrize("text", ["sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha256:../../x", "md5:" + "a" * 32, "", None, 7])
def test_only_one_spelling_of_a_digest(text: object) -> None:
    with pytest.raises(IntegrityError):
        Digest.parse(text)


@pytest.mark.parametrize(
    "change",
    [{"size": -1}, {"size": True}, {"size": "1"}, {"size": 1.0}, {"digest": "x"}, {"mediaType": None}, {"annotations": {"a": 1}}],
)
def test_a_descriptor_of_wrong_types_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        Descriptor.from_json({**DESCRIPTOR.to_json(), **change})


def test_a_descriptor_round_trips() -> None:
    descriptor = Descriptor("a/b", Digest.of(b"x"), 1, {"k": "v"}, "c/d")
    assert Descriptor.from_json(descriptor.to_json()) == descriptor


def test_a_hashing_writer_counts_what_it_passes_on() -> None:
    target = io.BytesIO()
    writer = HashingWriter(target)
    writer.write(b"ab")
    writer.write(b"c")
    assert (target.getvalue(), writer.count, writer.digest) == (b"abc", 3, Digest.of(b"abc"))


class Trickling:
    """Gives a few bytes at a time, and counts how many were asked for."""

    def __init__(self, data: bytes, most: int) -> None:
        self._data = io.BytesIO(data)
        self._most = most
        self.asked: list[int] = []

    def read(self, size: int = -1, /) -> bytes:
        self.asked.append(size)
        return self._data.read(min(size, self._most))


@pytest.mark.parametrize("most", [1, 3, 1 << 30])
def test_exactly_so_many_bytes_are_read_and_the_next_ones_stay(most: int) -> None:
    stream = Trickling(b"0123456789", most)
    assert read_exactly(stream, 0) == b""
    assert stream.asked == []
    assert read_exactly(stream, 7) == b"0123456"
    assert stream.read(10) == b"789"[:most]


def test_no_more_is_asked_for_than_is_left_also_behind_a_whole_block() -> None:
    stream = Trickling(bytes(BLOCK + 5), 1 << 30)
    assert read_exactly(stream, BLOCK + 3) == bytes(BLOCK + 3)
    assert stream.asked == [BLOCK, 3]


@pytest.mark.parametrize("have", [0, 4])
def test_a_stream_that_ends_early_ends_the_reading(have: int) -> None:
    with pytest.raises(IntegrityError, match=f"the content ended after {have} of 7 bytes"):
        read_exactly(Trickling(b"0123"[:have], 3), 7)
