"""Layers in canonical form, under right digests, that still mean harm: entry by entry, and frame by frame."""

from __future__ import annotations

import io
import struct
import tarfile
from dataclasses import replace
from typing import Any

import pytest
import zstandard
from fakes import directory, file, link
from judging import described

from bundler.errors import IntegrityError
from bundler.format import entry_rules, layer_reader, paths, tar
from bundler.format import metadata as meta
from bundler.format.content import Descriptor, Digest, VerifyingReader
from bundler.format.faults import FaultCode
from bundler.format.layer_rules import LayerChecker
from bundler.format.tar import Entry, Kind
from bundler.format.zstd_frames import Frames

TOP = directory("/s")


def verify(*members: tuple[Entry, bytes], privileged: tuple[str, ...] = ()) -> None:
    plain = b"".join(tar.encode(entry) + data + tar.padding(len(data)) for entry, data in members) + tar.TRAILER
    data = zstandard.ZstdCompressor(write_checksum=True).compress(plain)
    told = described([[entry for entry, _ in members]], privileged=privileged)
    one = told.layers[0].model_copy(update={"diff_id": Digest.of(plain), "size": len(plain)})
    checker = LayerChecker(told.model_copy(update={"layers": (one,)}))
    descriptor = Descriptor.of("x", data)
    checker.begin_layer(0)
    layer_reader.verify(VerifyingReader(io.BytesIO(data), descriptor, "here"), descriptor, one, "here", checker.check)
    for fault in (checker.end_layer(), checker.finish()):
        if fault:
            raise IntegrityError(fault.sentence)


@pytest.mark.parametrize(
    "path",
    [
        "/..",
        "/../etc/passwd",
        "/s/../../etc/passwd",
        "/s/..",
        "/.",
        "/./s",
        "/s/./x",
        "//etc/passwd",
        "/s//x",
        "/",
        "/" + "x" * 120 + "\0" + "y",
        "/" + "d/" * 60 + "../x",
    ],
)
def test_an_entry_with_no_clean_path_is_refused(path: str) -> None:
    for member in (file(path), directory(path)):
        with pytest.raises(IntegrityError, match=r"not a clean path|not in canonical form"):
            verify(member)


@pytest.mark.parametrize("path", ["/s/" + "x" * 256, "/s" + "/x" * 2100])
def test_an_entry_that_no_file_system_takes_is_refused(path: str) -> None:
    with pytest.raises(IntegrityError, match="longer than a file system allows"):
        verify(file(path))


@pytest.mark.parametrize("target", ["/../etc/passwd", "/s/../../etc/shadow", "/", "//x", "/s/./f"])
def test_a_hard_link_to_no_clean_path_is_refused(target: str) -> None:
    with pytest.raises(IntegrityError, match="not a clean path"):
        verify(TOP, file("/s/f"), link("/s/l", Kind.HARD_LINK, target))


@pytest.mark.parametrize("target", ["../../etc/passwd", "/etc/passwd", ".", "//", paths.from_bytes(b"\xff")])
def test_a_symlink_may_say_anything(target: str) -> None:
    verify(TOP, link("/s/l", Kind.SYMLINK, target))


@pytest.mark.parametrize("target", ["", "x" * 4096, "x" * 200 + "\0"])
def test_a_symlink_that_no_file_system_holds_is_refused(target: str) -> None:
    with pytest.raises(IntegrityError, match="no file system can hold"):
        verify(TOP, link("/s/l", Kind.SYMLINK, target))


@pytest.mark.parametrize("changes", [{"mode": 0o4755}, {"mode": 0o2755}, {"capability": b"\1\0\0\2"}])
def test_a_privileged_file_that_is_not_listed_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="privileged"):
        verify(file("/s", **changes))
    verify(file("/s", **changes), privileged=("/s",))


@pytest.mark.parametrize(
    ("name", "value"), [("user.overlay.opaque", b"y"), ("user.", b"y"), ("user.a\x07b", b"y"), ("user.empty", b"")]
)
def test_an_attribute_that_no_capture_takes_is_refused(name: str, value: bytes) -> None:
    verify(file("/s", xattrs=(("user.mine", b"\0\xff=\n"),)))
    with pytest.raises(IntegrityError, match="attribute that is not part of the state"):
        verify(file("/s", xattrs=((name, value),)))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"uid": -1}, "user or group ID outside"),
        ({"gid": 2**32 - 1}, "user or group ID outside"),
        ({"uid": 2**70}, "user or group ID outside"),
        ({"mtime": 2**63}, "a time that no file system supports"),
        ({"mtime": -(2**63) - 1}, "a time that no file system supports"),
    ],
)
def test_a_value_that_no_file_system_has_is_refused(changes: dict[str, int], fault: str) -> None:
    with pytest.raises(IntegrityError, match=fault):
        verify(file("/s", **changes))


@pytest.mark.parametrize("key", ["mtime", "uid", "size"])
def test_a_number_of_more_digits_than_python_reads_is_refused(key: str) -> None:
    """A time of 5,000 digits was a traceback."""
    record = f"{key}={'9' * 5000}\n"
    with pytest.raises(IntegrityError, match=f"no number for {key}"):
        list(tar.read(io.BytesIO(pax(f"{len(record) + 5} {record}".encode()))))


def test_a_whiteout_of_the_longest_name_is_taken_and_of_a_longer_one_refused() -> None:
    assert entry_rules.fault(tar.whiteout("/s/" + "n" * 255)) is None
    fault = entry_rules.fault(tar.whiteout("/s/" + "n" * 256))
    assert fault
    assert fault.code is FaultCode.PATH_LENGTH


def test_a_directory_has_no_capability() -> None:
    with pytest.raises(IntegrityError, match="capability"):
        verify(directory("/s", capability=b"1"))


def test_directories_may_have_setgid_and_sticky() -> None:
    verify(directory("/s", mode=0o3777))


@pytest.mark.parametrize(
    "member",
    [
        file("/s/.wh.x", b"data"),
        directory("/s/.wh.x"),
        link("/s/.wh.x", Kind.SYMLINK, "/y"),
        (Entry("/s/.wh..wh..opq", Kind.FILE, 0, 0, 0, 0), b""),
        (Entry("/s/.wh.", Kind.FILE, 0, 0, 0, 0), b""),
        (Entry("/s/.wh...", Kind.FILE, 0, 0, 0, 0), b""),
    ],
)
def test_a_whiteout_of_another_form_is_refused(member: tuple[Entry, bytes]) -> None:
    with pytest.raises(IntegrityError, match="not in canonical form"):
        verify(TOP, member)


def test_an_entry_that_claims_more_than_there_is_is_refused() -> None:
    entry, _ = file("/s")
    with pytest.raises(IntegrityError, match="ends inside"):
        verify((replace(entry, size=9 << 30), b""))


def test_a_header_of_a_hundred_thousand_records_is_read_at_once() -> None:
    """The time was quadratic in the number of records."""
    body = b"".join(b"10 k%04x=\n" % number for number in range(0x10000))
    (found,) = tar.read(io.BytesIO(pax(body) + tar.TRAILER))
    assert found[0].path == "/x"


def pax(body: bytes) -> bytes:
    """An empty file ``x`` behind PAX records that may be anything."""
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, len(body)
    return info.tobuf(tarfile.USTAR_FORMAT) + body + tar.padding(len(body)) + tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT)


class Dripping:
    """A source that gives little at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = io.BytesIO(data)
        self._size = size

    def read(self, size: int = -1, /) -> bytes:
        return self._data.read(min(size, self._size))


def frame(*blocks: bytes, flags: int = 4, window: bytes = b"\x50", checksum: bytes = b"abcd") -> bytes:
    return b"\x28\xb5\x2f\xfd" + bytes([flags]) + window + b"".join(blocks) + checksum


def block(kind: int, size: int, *, last: bool = False, content: bytes = b"") -> bytes:
    return struct.pack("<I", int(last) | kind << 1 | size << 3)[:3] + content


LAST = block(0, 0, last=True)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (frame(LAST, flags=0, checksum=b""), "without a checksum"),
        (frame(LAST, flags=5, window=b"\x50\x01"), "dictionary"),
        (frame(LAST, flags=12), "reserved flags"),
        (frame(LAST, window=bytes([18 << 3])), "of memory"),
        (frame(LAST, window=bytes([17 << 3 | 1])), "of memory"),
        (frame(LAST, flags=4 | 32 | 2 << 6, window=struct.pack("<I", (128 << 20) + 1)), "of memory"),
        (frame(LAST, flags=4 | 32 | 3 << 6, window=b"\xff" * 8), "of memory"),
        (frame(block(3, 0, last=True)), "reserved kind or size"),
        (frame(block(0, (128 << 10) + 1, last=True)), "reserved kind or size"),
        (frame(LAST) + b"\x5f\x2a\x4d\x18\x00\0\0\0", "before, between or behind"),
        (frame(LAST) + b"rest", "before, between or behind"),
        (frame(LAST) + b"r", "ends inside"),
        (b"\x1f\x8b\x08\0", "before, between or behind"),
        (frame(LAST)[:-1], "ends inside"),
        (frame(block(0, 9, content=b"123")), "ends inside"),
        (frame(*[block(0, 0)] * 11, LAST), "more zstd frames and blocks"),
        (frame(LAST) * 6, "more zstd frames and blocks"),
    ],
)
def test_a_stream_with_more_than_plain_frames_is_refused(data: bytes, fault: str) -> None:
    with pytest.raises(IntegrityError, match=fault):
        list(Frames(io.BytesIO(data), most=10, what="it"))


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_frames_pass_as_they_are(size: int) -> None:
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    data = compressor.compress(b"x" * 300_000) + compressor.compress(b"") + frame(block(1, 70_000, content=b"r"), LAST)
    frames = list(Frames(Dripping(data, size), most=20, what="it"))
    assert b"".join(found.data for found in frames) == data
    assert [found.size for found in frames if found.is_first] == [300_000, None, None]


def test_a_window_of_a_quarter_of_a_gigabyte_is_refused_by_its_header_alone() -> None:
    data = frame(window=bytes([18 << 3]), checksum=b"")
    told = meta.Layer(diff_id=Digest.of(b""), size=0, entries=0, exports=())
    blob = VerifyingReader(io.BytesIO(data), Descriptor.of("x", data), "here")
    with pytest.raises(IntegrityError, match="of memory"):
        layer_reader.verify(blob, Descriptor.of("x", data), told, "here", entry_rules.fault)
