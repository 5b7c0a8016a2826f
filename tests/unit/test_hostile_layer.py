"""Layers in canonical form, under right digests, that still mean harm."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
import zstandard
from fakes import directory, file, link

from bundler.errors import IntegrityError
from bundler.format import layer, paths, tar
from bundler.format import metadata as meta
from bundler.format.content import Descriptor, Digest, VerifyingReader
from bundler.format.tar import Entry, Kind


def verify(*members: tuple[Entry, bytes], privileged: frozenset[str] = frozenset()) -> None:
    plain = b"".join(tar.encode(entry) + data + tar.padding(len(data)) for entry, data in members) + tar.TRAILER
    data = zstandard.compress(plain)
    described = meta.Layer(diff_id=Digest.of(plain), size=len(plain), entries=len(members), exports=())
    blob = VerifyingReader(io.BytesIO(data), Descriptor.of("x", data), "here")
    layer.verify(blob, described, frozenset(), "here", privileged)


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
        with pytest.raises(IntegrityError):
            verify(member)


@pytest.mark.parametrize("target", ["/../etc/passwd", "/s/../../etc/shadow", "/", "//x", "/s/./f"])
def test_a_hard_link_to_no_clean_path_is_refused(target: str) -> None:
    with pytest.raises(IntegrityError):
        verify(file("/s/f"), link("/s/l", Kind.HARD_LINK, target))


@pytest.mark.parametrize("target", ["../../etc/passwd", "/etc/passwd", ".", "//", paths.from_bytes(b"\xff")])
def test_a_symlink_may_say_anything(target: str) -> None:
    verify(directory("/s"), link("/s/l", Kind.SYMLINK, target))


@pytest.mark.parametrize("changes", [{"mode": 0o4755}, {"mode": 0o2755}, {"capability": b"\1\0\0\2"}])
def test_a_privileged_file_that_is_not_listed_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="privileged"):
        verify(file("/s", **changes))
    verify(file("/s", **changes), privileged=frozenset({"/s"}))


def test_a_link_that_would_make_its_target_privileged_is_refused() -> None:
    target, shared = file("/s/f"), link("/s/l", Kind.HARD_LINK, "/s/f")
    setuid = replace(shared[0], mode=0o4755), b""
    verify(target, shared)
    with pytest.raises(IntegrityError, match="privileged"):
        verify(target, setuid)
    verify(target, setuid, privileged=frozenset({"/s/f"}))


@pytest.mark.parametrize(
    ("name", "value"), [("user.overlay.opaque", b"y"), ("user.", b"y"), ("user.a\x07b", b"y"), ("user.empty", b"")]
)
def test_an_attribute_that_no_capture_takes_is_refused(name: str, value: bytes) -> None:
    verify(file("/s", xattrs=(("user.mine", b"\0\xff=\n"),)))
    with pytest.raises(IntegrityError, match="attribute that is no state"):
        verify(file("/s", xattrs=((name, value),)))


def test_directories_may_have_setgid_and_sticky() -> None:
    verify(directory("/s", mode=0o3777))


def test_a_whiteout_that_is_not_listed_is_refused() -> None:
    with pytest.raises(IntegrityError, match="whiteouts"):
        verify((Entry("/etc/.wh.passwd", Kind.FILE, 0, 0, 0, 0), b""))


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
    with pytest.raises(IntegrityError, match="another form"):
        verify(directory("/s"), member)


def test_a_window_of_a_quarter_of_a_gigabyte_is_refused_by_its_header_alone() -> None:
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([18 << 3]) + b"\x01\x00\x00"
    described = meta.Layer(diff_id=Digest.of(b""), size=0, entries=0, exports=())
    blob = VerifyingReader(io.BytesIO(frame), Descriptor.of("x", frame), "here")
    with pytest.raises(IntegrityError, match="no valid zstd"):
        layer.verify(blob, described, frozenset(), "here")


def test_an_entry_that_claims_more_than_there_is_is_refused() -> None:
    entry, _ = file("/s")
    with pytest.raises(IntegrityError, match="breaks off"):
        verify((replace(entry, size=9 << 30), b""))
