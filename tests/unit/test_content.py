from __future__ import annotations

import io

import pytest

from bundler.errors import IntegrityError, StoreError
from bundler.format.content import Descriptor, Digest, HashingWriter, VerifyingReader

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
