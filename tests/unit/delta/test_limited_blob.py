"""A blob that may not grow without end."""

from __future__ import annotations

import pytest
from bundles import MemoryBlob
from fakes import MemoryStore

from bundler.delta.limited_blob import LimitedBlob
from bundler.errors import IntegrityError
from bundler.format import artifact
from bundler.format.content import Descriptor


def test_a_blob_up_to_the_limit_is_made() -> None:
    store = MemoryStore()
    blob = LimitedBlob(MemoryBlob(store), 6, "the layer")
    blob.write(b"abc")
    blob.write(b"def")
    blob.settle()
    assert blob.finish(artifact.LAYER) == Descriptor.of(artifact.LAYER, b"abcdef")
    assert list(store.blobs.values()) == [b"abcdef"]


def test_more_is_refused_and_not_written() -> None:
    store = MemoryStore()
    blob = LimitedBlob(MemoryBlob(store), 6, "the layer")
    blob.write(b"abcdef")
    with pytest.raises(IntegrityError, match="the layer has more than 6 bytes"):
        blob.write(b"g")
    blob.discard()
    assert store.blobs == {}
