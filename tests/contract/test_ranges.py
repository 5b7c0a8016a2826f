"""Parts of blobs out of every store, and what comes when a registry gives something else."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import faults
import pytest
from bundles import bundle
from exchange import Fault
from fakes import MemoryStore, RecordingProgress, directory, file, tree
from faultproxy import FaultProxy, fault_proxy
from links import store
from places import Place

from bundler.bundle import read_bundle
from bundler.errors import IntegrityError, NotFoundError
from bundler.format import thin_list
from bundler.format.content import Descriptor
from bundler.format.thin_list import Had
from bundler.format.toc import Table
from bundler.stores.archive import pipe
from bundler.stores.archive.split_artifact import SplitStore, SplitTarget
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.archive.thin import WholeStore
from bundler.stores.layout.store import LayoutStore
from bundler.streams import Stream
from bundler.verbs import copy, listing

MIB = 1 << 20
SMALL = random.Random(1).randbytes(1000)
LARGE = random.Random(2).randbytes(5 * MIB)


@pytest.fixture(scope="module")
def source() -> MemoryStore:
    store = MemoryStore()
    bundle(store, tree(directory("/s"), file("/s/a", LARGE), file("/s/b", SMALL)))
    return store


@pytest.fixture(scope="module")
def layer(source: MemoryStore) -> Descriptor:
    return read_bundle(source).manifest.layers[0]


def whole(stream: Stream) -> bytes:
    with stream:
        return b"".join(iter(lambda: stream.read(100_000), b""))


def ranges(blob: Descriptor) -> list[tuple[int, int]]:
    """Places and lengths, at and around where a split archive is cut."""
    end = blob.size
    return [(0, 1), (0, end), (end - 1, 1), (65_000, 200_000), (65_536 * 3, 65_536), (end // 2, end - end // 2)]


def test_any_part_of_a_blob_can_be_had_and_so_any_file(place: Place, source: MemoryStore, layer: Descriptor) -> None:
    copy.copy(source, place.open(), RecordingProgress())
    opened = place.open()
    opened.resolve()
    for offset, size in ranges(layer):
        assert whole(opened.open_range(layer, offset, size)) == source.blobs[layer.digest][offset : offset + size]
    with opened.open_range(layer, 10, 20) as stream:
        assert stream.read() == source.blobs[layer.digest][10:30]
        assert stream.read() == stream.read(1) == b""
    found = read_bundle(opened)
    for path, content in (("/s/b", SMALL), ("/s/a", LARGE)):
        assert b"".join(listing.content(found, opened, path, RecordingProgress())) == content
    with pytest.raises((IntegrityError, NotFoundError)):
        whole(opened.open_range(Descriptor.of("x", b"nowhere"), 1, 2))


def test_what_came_through_a_pipe_has_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: MemoryStore, layer: Descriptor
) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    copy.copy(source, ArchiveStore(tmp_path / "x.tar", "1"), RecordingProgress())
    with pipe.received(io.BytesIO((tmp_path / "x.tar").read_bytes())) as received:
        assert whole(received.open_range(layer, 5, 45)) == source.blobs[layer.digest][5:50]
        with pytest.raises(IntegrityError, match="missing"):
            received.open_range(Descriptor.of("x", b"x"), 0, 1)


def test_what_a_thin_archive_leaves_out_has_parts(source: MemoryStore, layer: Descriptor) -> None:
    thin = MemoryStore()
    needs = thin_list.annotation([Had("model:1", source.resolve().digest, frozenset({layer.digest}))])
    thin.tags["1"] = replace(source.resolve(), annotations={thin_list.NEEDS: needs})
    joined = WholeStore(thin, thin.has, lambda: source)  # type: ignore[arg-type, return-value]
    assert whole(joined.open_range(layer, 5, 45)) == source.blobs[layer.digest][5:50]


def test_a_blob_that_is_shorter_than_it_should_be_ends_in_an_error(tmp_path: Path, source: MemoryStore, layer: Descriptor) -> None:
    target = LayoutStore(tmp_path / "layout", "1")
    copy.copy(source, target, RecordingProgress())
    os.truncate(tmp_path / "layout" / "blobs" / "sha256" / layer.digest.hex, 100)
    assert whole(target.open_range(layer, 50, 50)) == source.blobs[layer.digest][50:100]
    with pytest.raises(IntegrityError, match="10 bytes too early"):
        whole(target.open_range(layer, 50, 60))


@pytest.fixture
def proxy(registry: str) -> Iterator[FaultProxy]:
    with fault_proxy(registry) as proxy:
        yield proxy


class Fetched:
    """Counts bytes and requests from now on."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._down, self._requests = proxy.traffic.down, len(proxy.records)

    @property
    def size(self) -> int:
        return self._proxy.traffic.down - self._down

    @property
    def requests(self) -> int:
        return len(self._proxy.records) - self._requests


def test_one_small_file_of_a_large_bundle_takes_little_more_than_its_table_and_frame(
    proxy: FaultProxy, source: MemoryStore, layer: Descriptor
) -> None:
    remote = store(proxy.address, "ranges/small")
    done = copy.copy(source, remote, RecordingProgress()).bundle
    table = Table.of(layer)
    assert table
    fetched = Fetched(proxy)
    found = read_bundle(remote)
    assert b"".join(listing.content(found, remote, "/s/b", RecordingProgress())) == SMALL
    needed = done.manifest.descriptor.size + done.manifest.config.size + table.length + len(SMALL)
    assert needed < fetched.size < needed + 4096, "the rest are the headers of four answers"
    assert fetched.size < layer.size / 500


def test_a_list_takes_no_more_than_the_tables(proxy: FaultProxy, source: MemoryStore, layer: Descriptor) -> None:
    remote = store(proxy.address, "ranges/list")
    copy.copy(source, remote, RecordingProgress())
    found = read_bundle(remote)
    table = Table.of(layer)
    assert table
    fetched = Fetched(proxy)
    assert len(list(listing.tree(found, remote, RecordingProgress()))) == 3
    assert fetched.requests == 1
    assert table.length < fetched.size < table.length + 1024


@pytest.mark.parametrize(
    "fault",
    [faults.whole(), faults.other_range(), faults.busy(), faults.reset_within_reply(), faults.reset()],
    ids=str,
)
def test_a_registry_that_gives_something_else_than_a_range_is_borne(
    proxy: FaultProxy, source: MemoryStore, layer: Descriptor, fault: Fault
) -> None:
    remote = store(proxy.address, "ranges/faults")
    copy.copy(source, remote, RecordingProgress())
    proxy.fail(fault, since=len(proxy.records), method="GET", part=str(layer.digest), times=2)
    found = read_bundle(remote)
    assert b"".join(listing.content(found, remote, "/s/a", RecordingProgress())) == LARGE
    assert proxy.injected


@pytest.mark.parametrize("number", [0, 1], ids=["table", "frames"])
def test_what_a_registry_changes_on_the_way_is_not_given_out(
    proxy: FaultProxy, source: MemoryStore, layer: Descriptor, number: int
) -> None:
    remote = store(proxy.address, "ranges/flipped")
    copy.copy(source, remote, RecordingProgress())
    proxy.fail(faults.flip(), since=len(proxy.records), method="GET", part=str(layer.digest), skip=number)
    given = []
    with pytest.raises(IntegrityError, match="damaged"):
        given.extend(listing.content(read_bundle(remote), remote, "/s/b", RecordingProgress()))
    assert given == []


def test_of_a_split_archive_no_more_is_fetched_than_the_rest_of_a_part(proxy: FaultProxy, source: MemoryStore) -> None:
    remote = store(proxy.address, "ranges/split")
    copy.copy(source, SplitTarget(remote, MIB, RecordingProgress()), RecordingProgress())
    joined = SplitStore(remote)
    found = read_bundle(joined)
    fetched = Fetched(proxy)
    assert b"".join(listing.content(found, joined, "/s/b", RecordingProgress())) == SMALL
    assert len(SMALL) < fetched.size < 2 * MIB + 8192
