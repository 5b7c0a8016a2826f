"""What other tools see in our archives."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from fakes import directory, file, link
from hypothesis import given
from hypothesis import strategies as st
from strategies import entries

from bundler.errors import IntegrityError
from bundler.format import tar
from bundler.format.tar import Entry, Kind

LONG = "/" + "/".join(["long-name" * 5] * 5)
MEMBERS = [
    directory("/s", mode=0o3775),
    directory(f"{LONG}/dir", mtime=0),
    file("/s/plain"),
    file("/s/setuid", mode=0o4755, uid=70_000, gid=2**31 + 5),
    file("/s/beyond-octal", uid=2**21, gid=2**21 - 1),
    file("/s/old", mtime=-86_400),
    file("/s/new", mtime=2**35),
    file("/s/snow☃"),
    file(LONG, capability=b"\1\0\0\2\0\4\0\0\n=\0\xff"),
    file("/s/" + "x" * 98, b""),
    link("/s/link", Kind.SYMLINK, "../" * 40 + "x"),
    link("/s/hard", Kind.HARD_LINK, "/s/plain"),
]


def archive(*members: tuple[Entry, bytes]) -> bytes:
    return b"".join(tar.encode(entry) + data + tar.padding(len(data)) for entry, data in members) + tar.TRAILER


def test_gnu_tar_lists_what_we_wrote(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(archive(*MEMBERS))
    listed = subprocess.run(
        ["tar", "--numeric-owner", "--full-time", "--quoting-style=literal", "-tvf", path],
        env=os.environ | {"TZ": "UTC0", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = dict(zip((entry.path for entry, _ in MEMBERS), listed.stdout.splitlines(), strict=True))
    assert lines["/s"].split() == ["drwxrwsr-t", "0/0", "0", "2020-09-13", "12:26:40", "s/"]
    assert lines["/s/setuid"].split()[:3] == ["-rwsr-xr-x", "70000/2147483653", "4"]
    assert lines["/s/beyond-octal"].split()[1] == "2097152/2097151"
    assert lines["/s/old"].split()[3] == "1969-12-31"
    assert lines["/s/new"].split()[3] == "3058-10-26"
    assert lines["/s/snow☃"].endswith(" s/snow☃")
    assert lines[LONG].endswith(f" {LONG[1:]}")
    assert lines["/s/link"].endswith(" s/link -> " + "../" * 40 + "x")
    assert lines["/s/hard"].endswith(" s/hard link to s/plain")


@given(st.lists(entries().filter(lambda entry: entry.size < 6000), max_size=5))
def test_pythons_tarfile_reads_the_same_contents(members: list[Entry]) -> None:
    data = archive(*((entry, b"x" * entry.size) for entry in members))
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        found = list(opened)
    assert [(info.mode, info.uid, info.gid, info.size) for info in found] == [
        (entry.mode, entry.uid, entry.gid, entry.size) for entry in members
    ]
    assert [info.mtime for info in found] == pytest.approx(
        [entry.mtime + entry.nanoseconds / 10**9 for entry in members], rel=1e-15
    )
    assert [entry for entry, _ in tar.read(io.BytesIO(data), canonical=True)] == members


@pytest.mark.parametrize(("size", "octal"), [(8**11 - 1, b"77777777777\0"), (8**11, b"00000000000\0"), (2**60, b"00000000000\0")])
def test_a_size_over_8_gib_stands_in_a_pax_record(size: int, octal: bytes) -> None:
    entry, _ = file("/s/huge")
    header = tar.encode(Entry(entry.path, Kind.FILE, 0o644, 0, 0, 0, size))
    assert header[-tar.RECORD :][124:136] == octal
    info = tarfile.TarInfo.frombuf(header[-tar.RECORD :], "utf-8", "surrogateescape")
    assert info.size == (size if size < 8**11 else 0)
    assert (b" size=%d\n" % size in header) == (size >= 8**11)
    assert next(tar.read(io.BytesIO(header + b"x"), canonical=True))[0].size == size


@given(entries())
def test_every_flip_in_a_header_is_refused_or_read_as_what_it_says(entry: Entry) -> None:
    header = tar.encode(entry)
    for position in range(0, len(header), 37):
        damaged = bytearray(header)
        damaged[position] ^= 1 << position % 8
        reader = tar.read(io.BytesIO(bytes(damaged) + b"x"), canonical=True)
        try:
            found, _ = next(reader)
        except IntegrityError:
            continue
        assert tar.encode(found) == bytes(damaged)
