"""What is opened is closed again, also by somebody who has read enough."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundles import noise
from fakes import MemoryStore, RecordingProgress
from places import Place

from bundler.errors import IntegrityError
from bundler.format.content import Descriptor
from bundler.verbs import copy


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(scope="module")
def source() -> MemoryStore:
    """A bundle with a layer that is longer than a socket's buffer holds."""
    return noise(3_200_000)


@pytest.fixture
def layer(place: Place, source: MemoryStore) -> Descriptor:
    """The layer in the place."""
    return copy.copy(source, place.open(), RecordingProgress()).bundle.manifest.layers[0]


def test_a_stream_that_is_closed_early_leaks_nothing(place: Place, layer: Descriptor) -> None:
    store = place.open()
    before = None
    held = []  # so that nothing is closed only because nobody refers to it any more
    for _ in range(10):
        with store.open(layer) as stream:
            held.append(stream)
            assert stream.read(10)
        before = before or open_files()  # the first use may open what stays, such as a connection
    assert open_files() <= before


def test_a_stream_that_breaks_leaks_nothing(place: Place, layer: Descriptor) -> None:
    store = place.open()
    longer = Descriptor(layer.media_type, layer.digest, layer.size + 1)
    before = None
    held = []
    for _ in range(10):
        with store.open(longer) as stream:
            held.append(stream)
            with pytest.raises(IntegrityError):
                stream.read()
        before = before or open_files()
    assert open_files() <= before


def test_a_store_can_be_used_after_a_stream_was_closed_early(place: Place, layer: Descriptor) -> None:
    store = place.open()
    with store.open(layer) as stream:
        stream.read(10)
    with store.open(layer) as stream:
        assert sum(len(block) for block in iter(lambda: stream.read(100_000), b"")) == layer.size
