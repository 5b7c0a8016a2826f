"""A base is listed once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundler.engines import base_listing_cache
from bundler.engines.base_listing_cache import BaseListingCache
from bundler.errors import EngineError
from bundler.format.content import Digest
from bundler.format.tar import Kind
from bundler.format.whiteouts import Listed

ONE, OTHER = Digest.of(b"one base"), Digest.of(b"another base")
LISTED = [Listed("/s", Kind.DIRECTORY), Listed("/s/new\nline and \udcff", Kind.FILE), Listed("/s/pipe", Kind.FIFO)]


def test_a_listing_is_found_again_for_the_same_base_and_exports_only(tmp_path: Path) -> None:
    kept = BaseListingCache(tmp_path)
    assert kept.find(ONE, ["/s"]) is None
    assert list(kept.keep(ONE, ["/s"], LISTED)) == LISTED
    assert list(kept.find(ONE, ["/s"]) or ()) == LISTED
    assert kept.find(OTHER, ["/s"]) is None
    assert kept.find(ONE, ["/s", "/t"]) is None


def test_nothing_is_kept_of_a_listing_that_breaks_off(tmp_path: Path) -> None:
    def breaking() -> object:
        yield LISTED[0]
        raise EngineError("the engine went away")

    with pytest.raises(EngineError):
        BaseListingCache(tmp_path).keep(ONE, ["/s"], breaking())  # type: ignore[arg-type]
    assert BaseListingCache(tmp_path).find(ONE, ["/s"]) is None
    assert list(tmp_path.glob("*")) == []


def test_an_empty_listing_is_a_listing(tmp_path: Path) -> None:
    BaseListingCache(tmp_path).keep(ONE, ["/s"], [])
    found = BaseListingCache(tmp_path).find(ONE, ["/s"])
    assert found is not None
    assert list(found) == []


def test_the_one_that_was_used_longest_ago_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_listing_cache, "KEPT", 2)
    kept = BaseListingCache(tmp_path)
    for age, export in enumerate(["/used", "/unused"]):
        kept.keep(ONE, [export], LISTED)
        path = max(tmp_path.glob("*.list"), key=lambda path: path.stat().st_mtime)
        os.utime(path, (age, age))
    kept.find(ONE, ["/used"])
    kept.keep(ONE, ["/new"], LISTED)
    assert kept.find(ONE, ["/unused"]) is None
    assert kept.find(ONE, ["/used"])
