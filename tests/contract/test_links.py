"""Links that break again and again, and hosts that send us elsewhere."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import faults
import pytest
import tally
from bundles import large, noise, verified
from fakes import RecordingProgress
from faultproxy import FaultProxy, fault_proxy
from links import standing, store
from privateregistry import private_registry

from bundler.stores.archive.split_artifact import SplitStore, SplitTarget
from bundler.stores.layout.store import LayoutStore
from bundler.verbs import copy

FULL = os.environ.get("FPS_BUNDLE_FAULTS") == "full"
SIZE = (1 << 30) if FULL else 20_000_000
CUT = 50_000_000 if FULL else 2_000_000
"""Bytes after which every connection breaks."""
PART = CUT // 12


@pytest.fixture
def proxy(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with fault_proxy(registry) as proxy:
        yield proxy


def test_a_pull_over_a_link_that_always_breaks_takes_few_more_bytes(proxy: FaultProxy, registry: str, tmp_path: Path) -> None:
    source, target = LayoutStore(tmp_path / "source", "1"), LayoutStore(tmp_path / "target", "1")
    digest = large(source, SIZE)
    copy.copy(source, store(registry, "links/large"), RecordingProgress())
    proxy.cut(CUT)
    copy.copy(store(proxy.address, "links/large"), target, RecordingProgress())
    assert verified(target) == digest
    assert proxy.traffic.cuts >= SIZE // CUT - 1
    assert proxy.traffic.down < 1.05 * SIZE
    tally.count("connections of one pull", "cut", proxy.traffic.cuts)


def test_a_push_in_parts_over_a_link_that_always_breaks_sends_few_more_bytes(proxy: FaultProxy, tmp_path: Path) -> None:
    source, target = LayoutStore(tmp_path / "source", "1"), LayoutStore(tmp_path / "target", "1")
    digest = large(source, SIZE)
    proxy.cut(CUT)
    copy.copy(source, SplitTarget(store(proxy.address, "links/parts"), PART, RecordingProgress()), RecordingProgress())
    assert proxy.traffic.cuts >= SIZE // CUT - 1
    assert proxy.traffic.up < 1.10 * SIZE
    tally.count("connections of one push in parts", "cut", proxy.traffic.cuts)
    proxy.forget()
    proxy.cut(CUT)
    copy.copy(SplitStore(store(proxy.address, "links/parts")), target, RecordingProgress())
    assert verified(target) == digest
    assert proxy.traffic.down < 1.10 * SIZE


def test_a_small_push_over_a_link_that_breaks_at_every_place_arrives(proxy: FaultProxy, registry: str) -> None:
    """Each connection may carry a little more than the one before."""
    source = noise(20_000)
    for after in (1, 200, 400, 600, 1_000, 5_000, 20_000, 25_000):
        proxy.forget()
        proxy.cut(after, times=2)
        repository = f"links/small-{after}"
        copy.copy(source, store(proxy.address, repository), RecordingProgress())
        assert standing(registry, repository) == str(source.tags["1"].digest)
        tally.count("connections of small pushes", "cut", proxy.traffic.cuts)


def test_no_credentials_go_to_the_host_that_blobs_are_fetched_from(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = noise(10_000), LayoutStore(tmp_path / "layout", "1")
    copy.copy(source, store(registry, "links/elsewhere"), RecordingProgress())
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with (
        private_registry("user", "secret") as closed,
        fault_proxy(closed) as proxy,
        fault_proxy(registry) as other,
    ):
        auth = {"auth": base64.b64encode(b"user:secret").decode()}
        (tmp_path / "config.json").write_text(json.dumps({"auths": {proxy.address: auth, other.address: auth}}))
        copy.copy(source, store(proxy.address, "links/elsewhere"), RecordingProgress())
        proxy.forget()
        proxy.fail(faults.redirect(other.address), part="/blobs/", times=100)
        copy.copy(store(proxy.address, "links/elsewhere"), target, RecordingProgress())
    assert verified(target) == source.tags["1"].digest
    assert any("authorization" in key.lower() for record in proxy.records for key, _ in record.fields)
    assert {record.path.rpartition("/")[2] for record in other.records} == {str(digest) for digest in source.blobs} - {
        str(source.tags["1"].digest)
    }
    assert not [value for record in other.records for key, value in record.fields if "authorization" in key.lower()]
