from __future__ import annotations

import pytest
from bundles import BASE
from fakes import PLATFORM

from bundler.format import compatibility
from bundler.format.content import Digest
from bundler.format.metadata import Platform

OTHER = Digest.of(b"other")


def test_the_same_layers_on_the_same_platform_fit() -> None:
    assert compatibility.check(BASE, PLATFORM, BASE.diff_ids) == []


@pytest.mark.parametrize(
    ("platform", "diff_ids", "what"),
    [
        (Platform(os="linux", architecture="arm64"), BASE.diff_ids, ["platform"]),
        (Platform(os="linux", architecture="amd64", variant="v2"), BASE.diff_ids, ["platform"]),
        (PLATFORM, (BASE.diff_ids[0], OTHER), ["diff ID of layer 2", "chain ID"]),
        (PLATFORM, (OTHER, OTHER), ["diff ID of layer 1", "chain ID"]),
        (PLATFORM, (*BASE.diff_ids, OTHER), ["number of layers", "chain ID"]),
        (PLATFORM, BASE.diff_ids[:1], ["number of layers", "chain ID"]),
        (PLATFORM, (), ["number of layers", "chain ID"]),
        (Platform(os="x", architecture="y"), (OTHER,), ["platform", "number of layers", "diff ID of layer 1", "chain ID"]),
    ],
)
def test_everything_that_differs_is_named(platform: Platform, diff_ids: tuple[Digest, ...], what: list[str]) -> None:
    mismatches = compatibility.check(BASE, platform, diff_ids)
    assert [mismatch.what for mismatch in mismatches] == what
    assert all(mismatch.recorded != mismatch.found for mismatch in mismatches)
