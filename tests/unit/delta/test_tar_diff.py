"""The stream of a tar-diff: recorded streams are rebuilt, ours are read by another reader, and hostile ones are refused."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard
from deltas import Files
from hypothesis import given
from hypothesis import strategies as st

from bundler.delta import tar_diff
from bundler.delta.tar_diff import MAGIC, MAX_NAME, Kind, Rebuilder, Writer
from bundler.errors import IntegrityError

RECORDED = Path(__file__).parents[2] / "golden" / "tar-diff"
INDEX = json.loads((RECORDED / "index.json").read_text())
OLD = {"a": b"0123456789" * 100, "d/empty": b""}
EMPTY = [bytes([Kind.DATA, 0])]


def rebuilt(delta: bytes, source: Mapping[str, bytes], size: int, entries: int = 1) -> bytes:
    with Rebuilder(io.BytesIO(delta), Files(source), size, entries, "the delta") as stream:
        return stream.read()


def operation(kind: int, number: int, content: bytes = b"") -> bytes:
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return bytes([kind]) + encoded + bytes([number]) + content


def delta(*operations: bytes) -> bytes:
    return MAGIC + zstandard.compress(b"".join(operations))


def opened(name: bytes = b"a") -> bytes:
    return operation(Kind.OPEN, len(name), name)


def read_plainly(delta: bytes, source: Mapping[str, bytes]) -> bytes:
    """Rebuild a target as the description of the format says, with nothing of ours."""
    assert delta[:8] == b"tardf1\n\0"
    stream = io.BytesIO(zstandard.ZstdDecompressor().decompressobj().decompress(delta[8:]))
    target, current, position = b"", b"", 0
    while kind := stream.read(1):
        number = shift = 0
        while (byte := stream.read(1)[0]) >= 128:
            number, shift = number + ((byte - 128) << shift), shift + 7
        number += byte << shift
        if kind == b"\0":
            target += stream.read(number)
        elif kind == b"\1":
            current, position = source[stream.read(number).decode()], 0
        elif kind == b"\2":
            target += current[position : position + number]
            position += number
        elif kind == b"\3":
            target += bytes((one + other) % 256 for one, other in zip(current[position:], stream.read(number), strict=False))
            position += number
        elif kind == b"\4":
            position = number
    return target


@pytest.fixture(scope="module")
def old_files() -> dict[str, bytes]:
    with tarfile.open(RECORDED / "old.tar") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}  # type: ignore[union-attr]


@pytest.mark.parametrize("case", [name for name in INDEX if name != "old.tar"])
def test_recorded_streams_give_their_targets(case: str, old_files: Mapping[str, bytes]) -> None:
    told = INDEX[case]
    target = rebuilt((RECORDED / f"{case}.tardiff").read_bytes(), old_files, told["target size"], entries=100)
    assert sha256(target).hexdigest() == told["target"]


def _written(steps: list[tuple[str, int, int]]) -> Iterator[Callable[[Writer], None]]:
    for kind, one, other in steps:
        begin, end = sorted((one, other))
        if kind == "copy":
            yield lambda writer, begin=begin, end=end: (writer.seek(begin), writer.copy(end - begin))  # type: ignore[misc]
        elif kind == "add":
            yield (
                lambda writer, begin=begin, end=end: (  # type: ignore[misc]
                    writer.seek(begin),
                    writer.add(bytes(range(256))[: min(256, end - begin)]),
                )
            )
        else:
            yield lambda writer, begin=begin, end=end: writer.data(b"x" * (end - begin))  # type: ignore[misc]


@given(st.lists(st.tuples(st.sampled_from(["copy", "add", "data"]), st.integers(0, 1000), st.integers(0, 1000)), max_size=20))
def test_what_is_written_is_read_by_another_reader_and_ours(steps: list[tuple[str, int, int]]) -> None:
    stream = io.BytesIO()
    writer = Writer(stream, 3)
    writer.open("a")
    for step in _written(steps):
        step(writer)
    writer.finish()
    target = read_plainly(stream.getvalue(), OLD)
    assert rebuilt(stream.getvalue(), OLD, len(target), entries=10) == target


@given(st.binary(min_size=1000, max_size=1000))
def test_a_difference_is_added_again(new: bytes) -> None:
    assert tar_diff.add(OLD["a"], tar_diff.subtract(new, OLD["a"])) == new


def test_a_stream_is_read_in_blocks_of_any_size() -> None:
    stream = delta(opened(), operation(Kind.COPY, 1000), operation(Kind.DATA, 3, b"abc"))
    with Rebuilder(io.BytesIO(stream), Files(OLD), 1003, 1, "the delta") as tar:
        assert b"".join(iter(lambda: tar.read(7), b"")) == OLD["a"] + b"abc"


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"", "does not begin as a tar-diff does"),
        (b"tardf2\n\0", "does not begin as a tar-diff does"),
        (MAGIC + b"nothing", "is no valid zstd stream"),
        (delta(operation(Kind.DATA, 10, b"0123456789")) + b"more", "is no valid zstd stream"),
        (delta(operation(5, 1, b"x")), "unknown kind 5"),
        (delta(bytes([Kind.DATA]) + b"\xff" * 10), "more than 63 bits"),
        (delta(operation(Kind.DATA, 10, b"012")), "breaks off in an operation"),
        (delta(bytes([Kind.DATA, 0x80])), "breaks off in an operation"),
        (delta(operation(Kind.DATA, 9, b"012345678")), "ends after 9 of the 10 bytes"),
        (delta(operation(Kind.DATA, 11, b"01234567890")), "gives more than the 10 bytes"),
        (delta(opened(), operation(Kind.COPY, 1 << 62)), "gives more than the 10 bytes"),
        (delta(opened(), operation(Kind.ADD_DATA, 1 << 40)), "gives more than the 10 bytes"),
        (delta(opened(), operation(Kind.SEEK, 1 << 62)), "of a file that has 1000"),
        (delta(opened(), operation(Kind.SEEK, 991), operation(Kind.COPY, 10)), "of a file that has 1000"),
        (delta(opened(), operation(Kind.SEEK, 991), operation(Kind.ADD_DATA, 10, b"0123456789")), "of a file that has 1000"),
        (delta(operation(Kind.COPY, 10)), "reads from a file before it opens one"),
        (delta(operation(Kind.SEEK, 0)), "reads from a file before it opens one"),
        (delta(opened(b"b")), "opens 'b', which is not a regular file of its source"),
        (delta(opened(b"../a")), "not a regular file of its source"),
        (delta(opened(b"/a")), "not a regular file of its source"),
        (delta(opened(b"d")), "not a regular file of its source"),
        (delta(opened(b"a\xff")), "not a regular file of its source"),
        (delta(opened(b"")), "whose name has 0 bytes"),
        (delta(opened(b"a" * (MAX_NAME + 1))), "whose name has 4097 bytes"),
        (delta(*EMPTY * 10_000), "more operations than its layer can need"),
    ],
)
def test_a_hostile_stream_is_refused(stream: bytes, reason: str) -> None:
    with pytest.raises(IntegrityError, match=reason):
        rebuilt(stream, OLD, 10)


def test_a_name_of_gigabytes_is_not_read() -> None:
    bomb = zstandard.compress(opened(b"a") + bytes([Kind.OPEN]) + b"\x80\x80\x80\x80\x10" + bytes(64 << 20))
    with pytest.raises(IntegrityError, match="whose name has 4294967296 bytes"):
        rebuilt(MAGIC + bomb, OLD, 10)


def test_a_window_that_takes_too_much_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    large = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    stream = MAGIC + large.compress(operation(Kind.DATA, 10, b"0123456789")) + large.flush()
    with pytest.raises(IntegrityError, match="is no valid zstd stream"):
        rebuilt(stream, OLD, 10)
