from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.stores.archive import multi_file, tar_index
from bundler.stores.archive.multi_file import Volume, Volumes


def pieces(*contents: bytes) -> Volumes:
    return Volumes([Volume(len(content), lambda offset, content=content: io.BytesIO(content[offset:])) for content in contents])


@given(st.lists(st.binary(max_size=5), max_size=6), st.integers(0, 30), st.integers(1, 7))
def test_pieces_read_as_one_from_any_place(contents: list[bytes], offset: int, block: int) -> None:
    whole = b"".join(contents)
    joined = pieces(*contents)
    assert joined.size == len(whole)
    with joined.open(offset) as stream:
        assert b"".join(iter(lambda: stream.read(block), b"")) == whole[offset:]
    with joined.open(offset) as stream:
        assert stream.read() == whole[offset:]


def test_a_piece_that_is_shorter_than_it_should_be_is_the_end() -> None:
    short = Volume(5, lambda offset: io.BytesIO(b"abc"[offset:]))
    with Volumes([short, Volume(1, lambda _: io.BytesIO(b"d"))]).open(0) as stream:
        assert stream.read() == b"abc"


def test_one_piece_is_open_at_a_time() -> None:
    opened: list[io.BytesIO] = []

    def piece(_: int) -> io.BytesIO:
        assert all(earlier.closed for earlier in opened)
        opened.append(io.BytesIO(b"ab"))
        return opened[-1]

    with Volumes([Volume(2, piece)] * 3).open(0) as stream:
        assert stream.read() == b"ababab"
    assert all(earlier.closed for earlier in opened)


def archive(**options: int) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", **options) as tar:  # type: ignore[call-overload]
        for name, size in (("./a", 3), ("b" * 90, 1000), ("ü", 0), ("c", 512)):
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, io.BytesIO(name[-1].encode()[:1] * size))
        directory = tarfile.TarInfo("d")
        directory.type = tarfile.DIRTYPE
        tar.addfile(directory)
    return written.getvalue()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("size", [1, 500, 512, 700, 100_000])
def test_the_files_of_an_archive_are_found_across_pieces(form: int, size: int) -> None:
    data = archive(format=form)
    cut = pieces(*(data[start : start + size] for start in range(0, len(data), size)))
    found = tar_index.find(cut)
    assert set(found) == {"a", "b" * 90, "ü", "c"}
    for name, member in found.items():
        with multi_file.limited(cut.open(member.offset), member.size) as stream:
            assert stream.read() == name[-1].encode()[:1] * member.size


@pytest.mark.parametrize("length", [0, 1, 511, 600, 1100, 2000])
def test_what_breaks_off_is_no_archive(length: int) -> None:
    with pytest.raises(tarfile.TarError):
        tar_index.find(pieces(archive()[:length]))


def test_a_damaged_header_is_not_taken_for_the_end() -> None:
    data = bytearray(archive())
    data[1024] ^= 1
    with pytest.raises(tarfile.TarError):
        tar_index.find(pieces(bytes(data)))


def test_an_archive_of_more_entries_than_any_bundle_is_refused() -> None:
    info = tarfile.TarInfo("x")
    info.type = tarfile.DIRTYPE
    header = info.tobuf(tarfile.USTAR_FORMAT)
    with pytest.raises(tarfile.TarError, match="entries"):
        tar_index.find(Volumes([Volume(512, lambda offset: io.BytesIO(header[offset:]))] * (tar_index.MAX_MEMBERS + 1)))


def test_only_headers_are_read(tmp_path: Path) -> None:
    """A content of a terabyte is stepped over."""
    path = tmp_path / "sparse.tar"
    info = tarfile.TarInfo("huge")
    info.size = 1 << 40
    with path.open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + info.size + 1024)
    assert tar_index.find(Volumes([multi_file.of_file(path, path.stat().st_size)])) == {"huge": tar_index.TarMember(512, info.size)}
