from __future__ import annotations

import contextlib
import io
import itertools
import os
import random
import struct
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

import pytest
import zstandard
from bundles import MemoryBlob, pack
from fakes import MemoryStore, directory, file, tree
from hypothesis import given, settings
from hypothesis import strategies as st

from bundler.concurrency.pipeline import Pipeline
from bundler.errors import IntegrityError, NoSpaceError
from bundler.format import entry_rules, layer_reader, layer_writer, tar, toc
from bundler.format import metadata as meta
from bundler.format.compression_mode import Compression
from bundler.format.content import Descriptor, Digest, VerifyingReader
from bundler.format.pack import Packer
from bundler.format.toc import CHUNK, Table
from bundler.streams import Readable

Sound = tuple[bytes, meta.Layer, Mapping[str, str]]
SOAK = os.environ.get("FPS_BUNDLE_HYPOTHESIS") == "soak"
NO_TABLE: Mapping[str, str] = {}


@pytest.fixture(scope="module")
def sound() -> Sound:
    store = MemoryStore()
    _, (descriptor,), (described,) = pack(store, tree(file("/s/a", b"a" * 300), file("/s/b")), ["/s"])
    return store.blobs[descriptor.digest], described, descriptor.annotations


def plain(data: bytes) -> bytes:
    return bytes(zstandard.ZstdDecompressor().stream_reader(data).read())


def verify(data: bytes, described: meta.Layer, annotations: Mapping[str, str] = NO_TABLE) -> None:
    """As if the digest of the compressed blob had been computed anew by whoever tampered with it."""
    descriptor = replace(Descriptor.of("x", data), annotations=annotations)
    layer_reader.verify(VerifyingReader(io.BytesIO(data), descriptor, "here"), descriptor, described, "here", entry_rules.fault)


def of(archive: bytes, count: int = 1) -> tuple[bytes, meta.Layer]:
    described = meta.Layer(diff_id=Digest.of(archive), size=len(archive), entries=count, exports=())
    return zstandard.ZstdCompressor(write_checksum=True).compress(archive), described


def test_a_sound_layer_passes(sound: Sound) -> None:
    verify(*sound)


def test_every_truncation_that_loses_content_is_noticed(sound: Sound) -> None:
    data, described, annotations = sound
    for length in range(len(data)):
        with pytest.raises(IntegrityError):
            verify(data[:length], described, annotations)


def test_every_flipped_bit_is_noticed(sound: Sound) -> None:
    """One bit of each byte, and in the soak all of them."""
    data, described, annotations = sound
    for position in range(len(data)):
        for bit in range(8) if SOAK else (position % 8,):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with contextlib.suppress(IntegrityError):
                verify(bytes(damaged), described, annotations)
                # A bit that carries no content, such as an unused one of the frame's header.
                assert plain(bytes(damaged)) == plain(data)


@pytest.mark.parametrize("rest", [b"x", b"\0" * 100, zstandard.compress(b"more")])
def test_bytes_after_the_end_are_noticed(sound: Sound, rest: bytes) -> None:
    with pytest.raises(IntegrityError):
        verify(sound[0] + rest, *sound[1:])


def test_a_wrong_promise_is_noticed(sound: Sound) -> None:
    data, described, annotations = sound
    for change in ({"diff_id": Digest.of(b"x")}, {"size": described.size - 512}, {"size": described.size + 512}, {"entries": 9}):
        with pytest.raises(IntegrityError):
            verify(data, described.model_copy(update=change), annotations)


def test_a_bomb_stops_at_the_promised_size() -> None:
    bomb = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(100 << 20))
    with pytest.raises(IntegrityError, match=r"longer|continues"):
        verify(bomb, meta.Layer(diff_id=Digest.of(b""), size=1 << 20, entries=0, exports=()))


def test_a_window_that_would_take_too_much_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, write_checksum=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(bytes(300 << 20)) + compressor.flush()
    with pytest.raises(IntegrityError, match="of memory"):
        verify(data, meta.Layer(diff_id=Digest.of(b""), size=300 << 20, entries=0, exports=()))


@pytest.mark.parametrize("kind", [tar.Kind.FIFO, tar.Kind.CHARACTER_DEVICE, tar.Kind.BLOCK_DEVICE])
def test_what_is_no_state_is_refused(kind: tar.Kind) -> None:
    entry = replace(file("/s/x", b"")[0], kind=kind)
    with pytest.raises(IntegrityError, match=kind.name.lower().replace("_", " ")):
        verify(*of(tar.encode(entry) + tar.TRAILER))


def test_gzip_labelled_zstd_is_refused() -> None:
    import gzip

    archive = tar.encode(file("/s/x", b"")[0]) + tar.TRAILER
    with pytest.raises(IntegrityError):
        verify(gzip.compress(archive), of(archive)[1])


def lied(sound: Sound, old: bytes, new: bytes) -> Sound:
    """A layer whose table tells something else, well formed and announced as it must be."""
    data, described, annotations = sound
    table = Table.of(replace(Descriptor.of("x", data), annotations=annotations))
    assert table
    text = zstandard.ZstdDecompressor().decompressobj().decompress(data[table.offset : table.offset + table.length])
    assert old in text
    packed = zstandard.compress(text.replace(old, new))
    told = Table(table.offset, len(packed), len(text.replace(old, new)), Digest.of(packed))
    footer = data[-72:-64] + struct.pack("<7Q8s", told.offset, told.length, told.size, 1, 0, 0, 0, b"GNUlInUx")
    return data[: table.begin] + toc.SKIPPABLE + struct.pack("<I", len(packed)) + packed + footer, described, told.annotations


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"name":"s/a"', b'"name":"s/c"'),
        (b'"size":300', b'"size":301'),
        (b'"digest":"sha256:', b'"digest":"sha256:0000'),
        (b'"mode":420', b'"mode":2541'),
        (b'"offset":', b'"offset":1'),
        (b'{"type":"reg","name":"s/b"', b'{"type":"dir","name":"s/b"'),
    ],
)
def test_a_table_that_tells_of_another_content_is_refused(sound: Sound, old: bytes, new: bytes) -> None:
    verify(*sound)
    with pytest.raises(IntegrityError, match="table of its own content"):
        verify(*lied(sound, old, new))


def test_a_table_where_none_is_announced_is_refused_and_one_that_is_announced_must_be_there(sound: Sound) -> None:
    data, described, annotations = sound
    with pytest.raises(IntegrityError, match="table"):
        verify(data, described)
    table = Table.of(replace(Descriptor.of("x", data), annotations=annotations))
    assert table
    verify(data[: table.begin], described)
    with pytest.raises(IntegrityError, match="table"):
        verify(data[: table.begin], described, annotations)


def test_a_table_for_frames_that_are_not_cut_at_files_is_refused(sound: Sound) -> None:
    data, described, _ = sound
    one = zstandard.ZstdCompressor(write_checksum=True).compress(plain(data))
    place = Table(len(one) + 8, 10, 100, Digest.of(b""))
    with pytest.raises(IntegrityError, match="no zstd frame of the layer begins"):
        verify(one + toc.SKIPPABLE + bytes(86), described, place.annotations)


def test_a_large_file_comes_out_of_its_chunks_as_it_went_in() -> None:
    content = bytes(range(251)) * (3 * CHUNK // 251)
    store = MemoryStore()
    _, (descriptor,), (described,) = pack(store, tree(file("/s/f", content), file("/s/g", b"")), ["/s"])
    with store.open(descriptor) as blob:
        layer_reader.verify(blob, descriptor, described, "here", entry_rules.fault)
    with store.open(descriptor) as blob, layer_reader.decompressed(blob, described, "here") as stream:
        assert {entry.path: found.read() for entry, found in tar.read(stream)} == {"/s": b"", "/s/f": content, "/s/g": b""}


@pytest.mark.parametrize("compression", Compression)
def test_every_compression_gives_the_same_tar_and_the_same_bytes_each_time(compression: Compression) -> None:
    files = tree(file("/s/text", b"all work and no play " * 20_000), file("/s/noise", random.Random(1).randbytes(300_000)))
    made = [pack(MemoryStore(), files, ["/s"], compression=compression)[1:] for _ in range(2)]
    assert made[0] == made[1]
    automatic = pack(MemoryStore(), files, ["/s"])[2]
    assert [layer.diff_id for layer in made[0][1]] == [layer.diff_id for layer in automatic]
    assert {layer.compression.mode for layer in made[0][1] if layer.compression} == {compression.value}


def test_what_breaks_while_it_is_packed_ends_the_packing() -> None:
    class Full(MemoryBlob):
        def write(self, data: bytes, /) -> int:
            del data
            raise NoSpaceError("full")

    def run() -> None:
        with Pipeline() as pipeline:
            packer = Packer(lambda: Full(MemoryStore()), ["/s"], 1, pipeline)
            packer.add(directory("/s")[0], io.BytesIO())
            for number in range(100):
                packer.add(replace(file(f"/s/{number:03}")[0], size=CHUNK), io.BytesIO(bytes(CHUNK)))

    with pytest.raises(NoSpaceError):
        run()


class Pieces(io.BytesIO):
    """A content whose reads return fewer bytes than asked for."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self.most = most

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self.most if size is None or size < 0 else min(size, self.most))


class Holes(io.BytesIO):
    """A content that knows which of its chunks are holes, and counts the bytes that are read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.count += len(found)
        return found

    def skip_hole(self, unit: int, most: int) -> int:
        rest = self.getvalue()[self.tell() :][:most]
        whole = (len(rest) - len(rest.lstrip(b"\0"))) // unit * unit
        self.seek(whole, io.SEEK_CUR)
        return whole


def written(
    members: Sequence[tuple[tar.Entry, Readable]], rests: Container[int] = ()
) -> tuple[bytes, meta.Layer, Mapping[str, str]]:
    store = MemoryStore()
    with Pipeline() as pipeline:
        writer = layer_writer.LayerWriter(MemoryBlob(store), pipeline, Compression.FAST)
        for number, (entry, content) in enumerate(members):
            writer.add(entry, content)
            if number in rests:
                writer.rest()
        descriptor, described = writer.finish().result()
    return store.blobs[descriptor.digest], described, descriptor.annotations


SIZES = st.sampled_from([0, 1, 511, 512, 70_000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])


@settings(max_examples=settings().max_examples // 5)
@given(
    sizes=st.lists(SIZES, min_size=1, max_size=5),
    alone=st.booleans(),
    rests=st.sets(st.integers(0, 5)),
    most=st.sampled_from([65_537, 1 << 20, CHUNK - 1]),
    frames=st.sampled_from([1, 2, 1024]),
)
def test_a_blob_is_a_function_of_its_tar(sizes: list[int], alone: bool, rests: set[int], most: int, frames: int) -> None:
    members = [file(f"/s/{number}", bytes([number + 1]) * size) for number, size in enumerate(sizes)]
    usual = written([(entry, io.BytesIO(data)) for entry, data in members])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_writer, "MAX_BATCH", frames)
        odd = written([(replace(entry, alone=alone), Pieces(data, most)) for entry, data in members], rests)
    assert odd == usual


PARTS = [[0], [0, 0, 0], [1, 0], [0, 1], [1, 0, 0, 1, 0], [0, 1, 0]]
MORE = [0, 1, 700]


@pytest.mark.parametrize(
    ("parts", "more"),
    list(itertools.product(PARTS, MORE)) if SOAK else list(zip(PARTS, 2 * MORE, strict=True)),
    ids=lambda it: "".join(map(str, it)) if isinstance(it, list) else str(it),
)
def test_holes_give_the_blob_that_zeros_give_and_are_not_read(parts: list[int], more: int) -> None:
    data = b"".join(bytes([part]) * CHUNK for part in [*parts, 1, 0, 0]) + bytes(more)
    entry, _ = file("/s/sparse", data)
    members = [file("/s/before", b"x" * 9), file("/s/z", b"y" * 9)]
    (before, first), (behind, last) = members
    holes = Holes(data)
    sparse = written([(before, io.BytesIO(first)), (entry, holes), (behind, io.BytesIO(last))])
    assert sparse == written([(before, io.BytesIO(first)), (entry, io.BytesIO(data)), (behind, io.BytesIO(last))])
    assert holes.count == (sum(parts) + 1) * CHUNK + more
    verify(*sparse)


def test_the_hashing_of_a_hole_ends_with_the_pipeline() -> None:
    class Endless(Holes):
        def skip_hole(self, unit: int, most: int) -> int:
            return most // unit * unit

    with pytest.raises(KeyboardInterrupt), Pipeline() as pipeline:  # noqa: PT012
        writer = layer_writer.LayerWriter(MemoryBlob(MemoryStore()), pipeline, Compression.FAST)
        writer.add(replace(file("/s/x")[0], size=1 << 50), Endless(b""))  # takes days to hash
        raise KeyboardInterrupt
