from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import replace

import pytest
import zstandard
from bundles import pack
from fakes import MemoryStore, file, tree

from bundler.errors import IntegrityError
from bundler.format import entries, layer, tar
from bundler.format import metadata as meta
from bundler.format.content import Descriptor, Digest, VerifyingReader

Sound = tuple[bytes, meta.Layer, Mapping[str, str]]
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
    layer.verify(VerifyingReader(io.BytesIO(data), descriptor, "here"), descriptor, described, "here", entries.fault)


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
    data, described, annotations = sound
    for position in range(len(data)):
        for bit in range(8):
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
    with pytest.raises(IntegrityError, match=r"longer|goes on"):
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
    with pytest.raises(IntegrityError, match=kind.name.lower()):
        verify(*of(tar.encode(entry) + tar.TRAILER))


def test_gzip_labelled_zstd_is_refused() -> None:
    import gzip

    archive = tar.encode(file("/s/x", b"")[0]) + tar.TRAILER
    with pytest.raises(IntegrityError):
        verify(gzip.compress(archive), of(archive)[1])
