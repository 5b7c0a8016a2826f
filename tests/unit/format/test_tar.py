from __future__ import annotations

import contextlib
import io
import tarfile
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import entries

from bundler.errors import IntegrityError
from bundler.format import paths, tar
from bundler.format.tar import Entry, Kind

FILE = Entry("/a/file", Kind.FILE, 0o644, 0, 0, 1_700_000_000, 5)


def archive(*members: tuple[Entry, bytes]) -> bytes:
    return b"".join(tar.encode(entry) + data + tar.padding(len(data)) for entry, data in members) + tar.TRAILER


def read(data: bytes, *, canonical: bool = True) -> list[tuple[Entry, bytes]]:
    return [(entry, content.read()) for entry, content in tar.read(io.BytesIO(data), canonical=canonical)]


@given(entries())
def test_what_is_written_is_read_again(entry: Entry) -> None:
    stream = io.BytesIO(tar.encode(entry) + b"x" * tar.RECORD)
    found, _ = next(tar.read(stream, canonical=True))
    assert found == entry


@given(entries())
def test_what_engines_do_not_tell_is_not_read_out_of_their_archives(entry: Entry) -> None:
    stream = io.BytesIO(tar.encode(entry) + b"x" * tar.RECORD)
    found, _ = next(tar.read(stream))
    assert found == replace(entry, nanoseconds=0, xattrs=())


@given(entries().filter(lambda entry: entry.size < 8**11))
def test_pythons_tarfile_reads_the_same(entry: Entry) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar.encode(replace(entry, size=0)) + tar.TRAILER)) as opened:
        (info,) = opened
    assert "/" + info.name == entry.path
    assert (info.mode, info.uid, info.gid) == (entry.mode, entry.uid, entry.gid)
    assert info.mtime == pytest.approx(entry.mtime + entry.nanoseconds / 10**9, rel=1e-15, abs=1e-9)
    assert info.linkname == (entry.target[1:] if entry.kind is Kind.HARD_LINK else entry.target)


@given(st.lists(st.binary(max_size=2000), max_size=4))
def test_contents_come_out_whole(contents: list[bytes]) -> None:
    members = [(replace(FILE, path=f"/f{number}", size=len(data)), data) for number, data in enumerate(contents)]
    assert read(archive(*members)) == members


def test_contents_that_nobody_read_are_skipped() -> None:
    data = archive((FILE, b"hello"), (replace(FILE, path="/b"), b"world"))
    assert [entry.path for entry, _ in tar.read(io.BytesIO(data))] == ["/a/file", "/b"]


def test_every_truncation_is_noticed() -> None:
    data = archive((FILE, b"hello"), (replace(FILE, path="/" + "long" * 40), b"world"))
    for length in range(len(data)):
        with pytest.raises(IntegrityError):
            read(data[:length])


def test_every_flipped_bit_of_a_header_is_noticed_or_changes_the_entry() -> None:
    data = archive((replace(FILE, path="/snow☃"), b"hello"))
    for position in range(3 * tar.RECORD):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with contextlib.suppress(IntegrityError):
                assert read(bytes(damaged)) != read(data)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (archive((FILE, b"hello")) + b"x", "continues after its end"),
        (archive((FILE, b"hello")) + bytes(512), "continues after its end"),
        (archive((FILE, b"hello"))[:-512] + b"x" * 512, "single zero block"),
        (tar.encode(FILE) + b"hello" + b"x" * 507 + tar.TRAILER, "is not zero"),
    ],
)
def test_what_is_wrong_with_an_archive_is_said(data: bytes, what: str) -> None:
    with pytest.raises(IntegrityError, match=what):
        read(data)


def test_an_engines_padding_after_the_end_is_no_harm() -> None:
    assert len(read(archive((FILE, b"hello")) + bytes(10240), canonical=False)) == 1


def pax(records: dict[str, str], entry: Entry = FILE) -> bytes:
    """The entry as Python's tarfile writes it, with records of our choice."""
    info = tarfile.TarInfo(entry.path[1:])
    info.size, info.mtime, info.mode, info.pax_headers = entry.size, entry.mtime, entry.mode, records
    return info.tobuf(tarfile.PAX_FORMAT) + b"hello" + bytes(507) + tar.TRAILER


@pytest.mark.parametrize("mtime", ["1700000000.9", "-1.5", "-0.5", "7258118400.25"])
def test_fractions_of_seconds_are_rounded_down(mtime: str) -> None:
    import math

    ((entry, _),) = read(pax({"mtime": mtime}), canonical=False)
    assert entry.mtime == math.floor(float(mtime))


@pytest.mark.parametrize(
    ("mtime", "nanoseconds", "text"),
    [(0, 1, "0.000000001"), (5, 250_000_000, "5.25"), (-1, 500_000_000, "-0.5"), (-2, 999_999_999, "-1.000000001"), (-2, 0, "-2")],
)
def test_nanoseconds_are_told_as_a_decimal_without_zeros_at_its_end(mtime: int, nanoseconds: int, text: str) -> None:
    entry = replace(FILE, mtime=mtime, nanoseconds=nanoseconds, size=0)
    assert f" mtime={text}\n".encode() in tar.encode(entry)
    assert read(archive((entry, b"")))[0][0] == entry


@pytest.mark.parametrize("mtime", ["5.250", "5.0", "5.", "-0", "05.5", "5.0000000001", "5.-5", "+5.5", "5e1"])
def test_a_second_spelling_of_a_time_is_not_canonical(mtime: str) -> None:
    entry = replace(FILE, mtime=5, nanoseconds=250_000_000, size=0)
    whole = tar.encode(entry)
    record = f"{len(mtime) + 10} mtime={mtime}\n".encode()
    assert len(record) == len(mtime) + 10
    header = bytearray(whole[:512])
    header[124:136] = b"%011o\0" % len(record)
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * 32)
    with pytest.raises(IntegrityError):
        read(bytes(header) + record + tar.padding(len(record)) + whole[1024:] + tar.TRAILER)


@pytest.mark.parametrize(
    "records",
    [
        {"path": "a/file"},
        {"size": "5"},
        {"comment": "hello"},
        {"SCHILY.xattr.trusted.x": "1"},
        {"GNU.sparse.major": "1"},
        {"uid": "007"},
    ],
)
def test_a_second_spelling_of_the_same_is_not_canonical(records: dict[str, str]) -> None:
    with pytest.raises(IntegrityError):
        read(pax(records))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_other_dialects_are_not_canonical(form: int) -> None:
    info = tarfile.TarInfo("a/" + "x" * 90)
    info.uname = "root"
    with pytest.raises(IntegrityError):
        read(info.tobuf(form) + tar.TRAILER)


def test_a_link_is_moved_with_what_it_points_to() -> None:
    link = Entry("/b/x/link", Kind.HARD_LINK, 0o644, 0, 0, 0, target="/b/file")
    assert tar.reroot(link, "/b", "/a/b") == replace(link, path="/a/b/x/link", target="/a/b/file")
    symlink = replace(link, kind=Kind.SYMLINK, target="../file")
    assert tar.reroot(symlink, "/b", "/a/b").target == "../file"


def test_names_are_bytes() -> None:
    entry = replace(FILE, path=paths.from_bytes(b"/\xff\n"), size=0)
    assert b"hdrcharset=BINARY" in tar.encode(entry)
    assert read(archive((entry, b"")))[0][0] == entry


def fallback(entry: Entry) -> tuple[bytes, bytes]:
    """The name and the target that a tool sees which knows no PAX."""
    header = tar.encode(entry)[-tar.RECORD :]
    return header[:100].rstrip(b"\0"), header[157:257].rstrip(b"\0")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/" + "d" * 99 + "/file", b"d" * 99),
        ("/" + "d" * 98 + "/file", b"d" * 98 + b"/f"),
        ("/" + "d" * 100 + "/file", b"d" * 100),
        ("/" + "☃" * 40, b"?" * 100),
        ("/caf\u00e9", b"caf??"),
        ("/\x7f\udc80", b"\x7f?"),
    ],
)
def test_a_name_for_tools_without_pax_has_no_slash_at_its_end_and_is_ascii(path: str, name: bytes) -> None:
    assert fallback(replace(FILE, path=path))[0] == name
    assert fallback(replace(FILE, path="/x", kind=Kind.SYMLINK, size=0, target=path[1:]))[1] == name


def test_a_directorys_name_for_tools_without_pax_has_none_either() -> None:
    assert fallback(replace(FILE, path="/" + "d" * 100, kind=Kind.DIRECTORY, size=0))[0] == b"d" * 100


@pytest.mark.parametrize(
    ("plain", "extended"),
    [
        ({"path": "/" + "n" * 100}, {"path": "/" + "n" * 101}),
        ({"path": "/" + "n" * 99, "kind": Kind.DIRECTORY, "size": 0}, {"path": "/" + "n" * 100, "kind": Kind.DIRECTORY, "size": 0}),
        (
            {"kind": Kind.SYMLINK, "size": 0, "target": "t" * 100},
            {"kind": Kind.SYMLINK, "size": 0, "target": "t" * 101},
        ),
        (
            {"kind": Kind.HARD_LINK, "size": 0, "target": "/" + "t" * 100},
            {"kind": Kind.HARD_LINK, "size": 0, "target": "/" + "t" * 101},
        ),
        ({"uid": 8**7 - 1}, {"uid": 8**7}),
        ({"gid": 8**7 - 1}, {"gid": 8**7}),
        ({"size": 8**11 - 1}, {"size": 8**11}),
        ({"mtime": 8**11 - 1}, {"mtime": 8**11}),
        ({"mtime": 0}, {"mtime": -1}),
        ({"mtime": 0}, {"mtime": 0, "nanoseconds": 1}),
    ],
)
def test_a_pax_header_stands_only_before_what_needs_one(plain: dict[str, object], extended: dict[str, object]) -> None:
    assert len(tar.encode(replace(FILE, **plain))) == tar.RECORD  # type: ignore[arg-type]
    assert len(tar.encode(replace(FILE, **extended))) == 3 * tar.RECORD  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [*range(83, 104), *range(980, 1004)])
def test_the_length_of_a_pax_record_counts_itself(length: int) -> None:
    body = tar.encode(replace(FILE, path="/" + "\u00e9" * (length // 2) + "x" * (length % 2)))[tar.RECORD :]
    counted = int(body.partition(b" ")[0])
    assert body[:counted].startswith(b"%d path=" % counted)
    assert body[counted - 1 : counted] == b"\n"
    assert not any(body[counted : counted + -counted % tar.RECORD])


@pytest.mark.parametrize(("size", "ends"), [(tar.MAX_TRAILER, True), (tar.MAX_TRAILER + 1, False)])
def test_an_archive_of_an_engine_may_be_filled_up_with_zeros_but_not_without_end(size: int, ends: bool) -> None:
    stream = io.BytesIO(tar.TRAILER + bytes(size))
    if ends:
        assert list(tar.read(stream)) == []
    else:
        with pytest.raises(IntegrityError, match="continues after its end"):
            list(tar.read(stream))
