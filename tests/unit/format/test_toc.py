"""The table of contents of a layer: what it tells, and that nothing else is taken for one."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
from dataclasses import replace

import pytest
import zstandard
from bundles import pack
from fakes import MemoryStore, directory, file, link, tree

from bundler.errors import IntegrityError
from bundler.format import toc
from bundler.format.content import Descriptor, Digest, VerifyingReader
from bundler.format.tar import Entry, Kind
from bundler.format.toc import CHUNK, Chunk, Item, Table, TableWriter

LARGE = bytes(range(256)) * (CHUNK // 256) * 2 + b"end"
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def written(*items: Item) -> tuple[bytes, Table]:
    writer = TableWriter()
    for item in items:
        writer.add(item)
    tail, table = writer.finish(1000)
    assert table
    return tail, table


def read(tail: bytes, table: Table) -> list[Item]:
    data = tail[8 : 8 + table.length]
    return list(toc.read(VerifyingReader(io.BytesIO(data), Descriptor("x", Digest.of(data), len(data)), "here"), table, "here"))


def table_text(made: tuple[bytes, Table]) -> bytes:
    tail, table = made
    return zstandard.ZstdDecompressor().decompressobj().decompress(tail[8 : 8 + table.length])


def contents(text: bytes) -> tuple[bytes, Table]:
    """A table with this text, well formed in all else."""
    data = zstandard.compress(text)
    return bytes(8) + data, Table(1008, len(data), len(text), Digest.of(data))


def content(entry: Entry, *sizes: int, offset: int = 100) -> Item:
    chunks = [Chunk(offset + number, number * CHUNK, size, Digest.of(b"chunk %d" % number)) for number, size in enumerate(sizes)]
    return Item(entry, chunks[0].digest if len(chunks) == 1 else Digest.of(b"all"), tuple(chunks), offset + len(chunks))


ITEMS = [
    Item(directory("/s")[0]),
    Item(replace(file("/s/empty", b"")[0], mtime=0)),
    content(file("/s/file", b"12345")[0], 5),
    content(replace(file("/s/large")[0], size=2 * CHUNK + 3), CHUNK, CHUNK, 3),
    Item(link("/s/link", Kind.SYMLINK, "../é")[0]),
    Item(link("/s/same", Kind.HARD_LINK, "/s/file")[0]),
    content(replace(file("/s/Ünïcode", b"1")[0], nanoseconds=120, mtime=-5, capability=CAPABILITY, xattrs=(("user.a", b"\0"),)), 1),
]


def test_what_was_written_is_read() -> None:
    assert read(*written(*ITEMS)) == ITEMS
    assert read(*written()) == []


def test_a_table_that_is_longer_than_what_is_compressed_at_once_is_read() -> None:
    items = [content(file(f"/s/{number:05}", b"12345")[0], 5, offset=100 + number) for number in range(3000)]
    items.append(content(replace(file("/s/large")[0], size=2 * CHUNK + 3), CHUNK, CHUNK, 3, offset=9000))
    tail, table = written(*items)
    assert table.size > 3 << 16
    assert read(tail, table) == items
    assert len(table_text((tail, table))) == table.size


def test_the_longest_entries_fit_into_a_line() -> None:
    name = "/s/" + "/".join(["é" * 127] * 15)
    longest = Item(replace(link("/s/x", Kind.SYMLINK, "x" * 4095)[0], path=name, xattrs=(("user.a", b"x" * (500 << 10)),)))
    assert read(*written(longest, *ITEMS[:2])) == [longest, *ITEMS[:2]]


def test_a_layer_tells_where_its_table_is_and_the_table_where_the_files_are() -> None:
    store = MemoryStore()
    files = tree(directory("/s"), file("/s/large", LARGE), file("/s/small", b"small"), link("/s/to", Kind.SYMLINK, "small"))
    _, (descriptor,), _ = pack(store, files, ["/s"])
    blob = store.blobs[descriptor.digest]
    table = Table.of(descriptor)
    assert table
    assert table.annotations == descriptor.annotations
    items = {item.entry.path: item for item in read(blob[table.begin :], table)}
    assert {path: item.entry for path, item in items.items()} == {path: entry for path, (entry, _) in files.items()}
    for path in ("/s/large", "/s/small"):
        data, item = files[path][1], items[path]
        assert item.digest == Digest.of(data)
        ends = [*(chunk.offset for chunk in item.chunks[1:]), item.end]
        found = [zstandard.decompress(blob[chunk.offset : end]) for chunk, end in zip(item.chunks, ends, strict=True)]
        assert b"".join(found) == data
        assert [Digest.of(part) for part in found] == [chunk.digest for chunk in item.chunks]
        assert [len(part) for part in found] == [chunk.size for chunk in item.chunks]


def test_the_form_is_that_of_zstd_chunked() -> None:
    tail, table = written(*ITEMS)
    told = json.loads(table_text((tail, table)))
    assert told["version"] == 1
    types = [entry["type"] for entry in told["entries"]]
    assert types == ["dir", "reg", "reg", "reg", "chunk", "chunk", "symlink", "hardlink", "reg"]
    assert told["entries"][0] == {"type": "dir", "name": "s/", "mode": 0o755, "modtime": told["entries"][0]["modtime"]}
    assert told["entries"][1]["modtime"] == "1970-01-01T00:00:00Z"
    assert told["entries"][-1]["modtime"] == "1969-12-31T23:59:55.00000012Z"
    footer = tail[8 + table.length :]
    assert footer[:8] == b"\x50\x2a\x4d\x18\x40\0\0\0"
    assert struct.unpack("<4Q", footer[8:40]) == (1008, table.length, table.size, 1)
    assert footer[-8:] == b"GNUlInUx"
    assert table.annotations["io.github.containers.zstd-chunked.manifest-position"] == f"1008:{table.length}:{table.size}:1"


@pytest.mark.parametrize(
    "entry",
    [
        file("/s/latin-\udce9")[0],
        link("/s/x", Kind.SYMLINK, "\udce9")[0],
        replace(file("/s/x", b"")[0], mtime=2**40),
    ],
)
def test_what_json_cannot_tell_leaves_the_layer_without_a_table(entry: Entry) -> None:
    writer = TableWriter()
    for item in (Item(entry), *ITEMS):
        writer.add(item)
    assert writer.finish(1000) == (b"", None)


def test_a_table_that_would_be_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    size = written(*ITEMS)[1].size
    for most, there in ((size, True), (size - 1, False)):
        monkeypatch.setattr(toc, "MAX_TABLE", most)
        writer = TableWriter()
        for item in ITEMS:
            writer.add(item)
        assert (writer.finish(1000)[1] is not None) is there


@pytest.mark.parametrize(
    ("position", "checksum"),
    [
        ("", str(Digest.of(b""))),
        ("1008:10:100:2", str(Digest.of(b""))),
        ("1008:10:100", str(Digest.of(b""))),
        ("01008:10:100:1", str(Digest.of(b""))),
        ("7:10:100:1", str(Digest.of(b""))),
        ("1008:11:100:1", str(Digest.of(b""))),
        ("1008:10:157286401:1", str(Digest.of(b""))),
        ("1008:10:100:1", "sha256:0"),
        ("1008:10:100:1", None),
        (None, str(Digest.of(b""))),
    ],
)
def test_an_impossible_place_is_refused(position: str | None, checksum: str | None) -> None:
    told = {toc.POSITION: position, toc.CHECKSUM: checksum}
    annotations = {key: value for key, value in told.items() if value is not None}
    with pytest.raises(IntegrityError):
        Table.of(Descriptor("x", Digest.of(b""), 1008 + 10 + 72, annotations))


def test_a_sound_place_is_taken_and_none_is_none() -> None:
    place = Table(1008, 10, 100, Digest.of(b""))
    assert Table.of(Descriptor("x", Digest.of(b""), 1090, place.annotations)) == place
    assert Table.of(Descriptor("x", Digest.of(b""), 1090)) is None
    longest = Table(8, 10, toc.MAX_TABLE, Digest.of(b""))
    assert Table.of(Descriptor("x", Digest.of(b""), 90, longest.annotations)) == longest


WHOLE = table_text(written(*ITEMS))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"version":1', b'"version":2'),
        (b'"type":"dir"', b'"type":"fifo"'),
        (b'"type":"dir",', b'"type":"dir","more":1,'),
        (b'"type":"dir",', b'"type":"dir","type":"dir",'),
        (b'"type":"dir",', b'"type": "dir",'),
        (b'"mode":493', b'"mode":493.0'),
        (b'"mode":493', b'"mode":true'),
        (b'"name":"s/empty"', b'"name":"s/../empty"'),
        (b'"name":"s/empty"', b'"name":"/s/empty"'),
        (b'"name":"s/empty"', b'"name":"s\\/empty"'),
        (b'"chunkOffset":4194304', b'"chunkOffset":4194305'),
        (b'"chunkSize":3', b'"chunkSize":4'),
        (b'"offset":102', b'"offset":99'),
        (b'"endOffset":103', b'"endOffset":102'),
        (b'"modtime":"1970-01-01T00:00:00Z"', b'"modtime":"1970-01-01T00:00:00+00:00"'),
        (b'"user.a":"AA=="', b'"user.a":"AB=="'),
        (b"\n]}\n", b"\n]}"),
        (b"\n]}\n", b"\n]}\n "),
        (b",\n", b"\n"),
        (b",\n", b",\n\n"),
        (b",\n", b", ,\n"),
        (b",\n", b",,\n"),
    ],
)
def test_a_table_of_another_form_is_refused(old: bytes, new: bytes) -> None:
    assert old in WHOLE
    with pytest.raises(IntegrityError):
        read(*contents(WHOLE.replace(old, new, 1)))


@pytest.mark.parametrize("size", [1 << 40, 1 << 62, 1 << 80], ids=["terabyte", "exabytes", "more"])
def test_a_table_of_a_huge_file_in_few_chunks_is_refused_in_little_memory(size: int) -> None:
    told = contents(WHOLE.replace(b'"size":8388611', b'"size":%d' % size))
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError):
            read(*told)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_every_truncation_and_every_flip_of_a_table_is_refused_or_tells_other_items() -> None:
    for length in range(len(WHOLE)):
        with pytest.raises(IntegrityError):
            read(*contents(WHOLE[:length]))
    for position in range(len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[position] ^= 1
        try:
            assert read(*contents(bytes(damaged))) != ITEMS
        except IntegrityError:
            continue


def test_a_table_that_is_no_zstd_is_refused() -> None:
    _, table = written(*ITEMS)
    with pytest.raises(IntegrityError, match="not a valid zstd"):
        read(bytes(8 + table.length), table)


def test_a_table_that_goes_on_after_its_promised_size_is_refused() -> None:
    data = zstandard.compress(WHOLE + b" " * (100 << 20))
    with pytest.raises(IntegrityError):
        read(bytes(8) + data, Table(1008, len(data), len(WHOLE), Digest.of(data)))


def test_both_parsers_give_the_same_items(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = read(*written(*ITEMS))
    monkeypatch.setattr(toc, "_plain_item", lambda _: None)
    assert read(*written(*ITEMS)) == fast == ITEMS


PLAIN = b'{"type":"reg","name":"s/a","size":5,"modtime":"2026-01-01T00:00:00Z","digest":"sha256:%b","offset":0,"endOffset":9}' % (
    b"a" * 64
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"T00:", b"T24:"),
        (b"2026-01-01", b"2026-02-30"),
        (b"00Z", b"00.10Z"),
        (b'"size":5', b'"size":05'),
        (b'"size":5,', b""),
        (b"s/a", b"s/a/"),
        (b"s/a", b"s/../a"),
        (b"s/a", b"s/\xff"),
        (b'"reg"', b'"dir"'),
        (b'"endOffset":9', b'"endOffset":0'),
        (b'"size":5', b'"size":%d' % (CHUNK + 1)),
    ],
)
def test_a_plain_line_in_any_other_form_is_refused(old: bytes, new: bytes) -> None:
    begin, end = b'{"version":1,"entries":[\n', b"\n]}\n"
    assert len(read(*contents(begin + PLAIN + end))) == 1
    with pytest.raises(IntegrityError):
        read(*contents(begin + PLAIN.replace(old, new) + end))
