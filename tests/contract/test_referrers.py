"""What refers to a bundle travels with it, between stores of every kind."""

from __future__ import annotations

import json

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress
from places import Place

from bundler.bundle import list_bundles, read_bundle
from bundler.errors import IntegrityError, NotFoundError
from bundler.format import artifact
from bundler.format.content import Descriptor, Digest
from bundler.verbs import copy

EMPTY = b"{}"


def attach(store: MemoryStore, subject: Descriptor, content: bytes) -> Descriptor:
    """Let an artifact with this content refer to a manifest."""
    config = Descriptor.of("application/vnd.oci.empty.v1+json", EMPTY)
    layer = Descriptor.of("text/plain", content)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": artifact.MANIFEST,
            "artifactType": "application/vnd.example.remark.v1",
            "config": config.to_json(),
            "layers": [layer.to_json()],
            "subject": Descriptor(artifact.MANIFEST, subject.digest, subject.size).to_json(),
        }
    ).encode()
    descriptor = Descriptor.of(artifact.MANIFEST, manifest)
    store.blobs |= {config.digest: EMPTY, layer.digest: content, descriptor.digest: manifest}
    store.unnamed.append(descriptor)
    return descriptor


@pytest.fixture
def source() -> MemoryStore:
    store = MemoryStore()
    attach(store, bundle(store), b"well done")
    return store


def referrers(place: Place, source: MemoryStore) -> set[Digest]:
    store = place.open()
    found = store.referrers(source.tags["1"])
    for descriptor in found:
        for blob in artifact.read_referrer(store.manifest(descriptor), store.where).blobs:
            with store.open(blob) as stream:
                assert stream.read() == source.blobs[blob.digest]
    return {descriptor.digest for descriptor in found}


def test_a_referrer_travels_with_its_bundle(place: Place, source: MemoryStore) -> None:
    copy.copy(source, place.open(), RecordingProgress())
    assert referrers(place, source) == {source.unnamed[0].digest}
    back = MemoryStore()
    copy.copy(place.open(), back, RecordingProgress())
    assert back.blobs == source.blobs
    assert [descriptor.digest for descriptor in back.unnamed] == [source.unnamed[0].digest]


def test_one_that_comes_later_is_brought_without_the_bundle(place: Place, source: MemoryStore) -> None:
    copy.copy(source, place.open(), RecordingProgress())
    attach(source, source.tags["1"], b"I agree")
    again = copy.copy(source, place.open(), RecordingProgress())
    assert referrers(place, source) == {descriptor.digest for descriptor in source.unnamed}
    assert (again.sent == len(b"I agree")) is place.skips


def test_a_bundle_with_referrers_is_still_the_only_one(place: Place, source: MemoryStore) -> None:
    copy.copy(source, place.open(), RecordingProgress())
    assert read_bundle(place.open()).digest == source.tags["1"].digest
    assert [name for name, _ in list_bundles(place.open())]
    with pytest.raises(NotFoundError):
        place.open("other").resolve()


def test_what_refers_to_something_else_does_not_travel(source: MemoryStore) -> None:
    class Lying(MemoryStore):
        def referrers(self, manifest: Descriptor) -> list[Descriptor]:
            del manifest
            return self.unnamed

    attach(source, Descriptor.of(artifact.MANIFEST, b"another"), b"not of this")
    with pytest.raises(IntegrityError, match="refers to"):
        copy.copy(Lying(shared=source), MemoryStore(), RecordingProgress())
