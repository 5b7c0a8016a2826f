"""A tag is asked for once; everything after goes by digest."""

from __future__ import annotations

from fakes import RecordingProgress

from bundler.api.stores import StoreOptions
from bundler.bundle import read_bundle
from bundler.cli import wiring
from bundler.format import reference
from bundler.verbs import verify
from hostile.registries import Registry, repositories


def test_a_tag_that_moves_between_two_looks_moves_nobody() -> None:
    address, found = repositories()
    found["moving"] = moving = Registry()
    asked: list[bytes] = []

    def tag() -> bytes:
        asked.append(b"once more")
        return moving.manifest if len(asked) == 1 else b"{}"

    moving.tag = tag
    with wiring.opened(reference.parse(f"{address}/moving:1"), StoreOptions()) as store:
        bundle = read_bundle(store)
        verify.verify(bundle, store, RecordingProgress())
    assert str(bundle.digest) == moving.digest
    assert len(asked) == 1
