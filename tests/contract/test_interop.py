"""Debian's skopeo reads and copies our bundles, and we read what it wrote."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree
from privateengine import ensure

from bundler.bundle import read_bundle
from bundler.format import artifact
from bundler.format.content import Digest
from bundler.format.reference import RegistryReference
from bundler.format.toc import Table
from bundler.ports import Store
from bundler.stores.archive.split_files import Split, SplitFileStore
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout.store import LayoutStore
from bundler.stores.registry.store import RegistryStore
from bundler.verbs import copy

PLACES = ["registry", "layout", "archive"]


@pytest.fixture(scope="session")
def skopeo() -> str:
    return ensure("skopeo", "skopeo")


def store_at(place: str, name: str, registry: str, directory: Path) -> tuple[Store, str]:
    """A store of ours, and how skopeo calls it."""
    if place == "registry":
        reference = RegistryReference(registry, f"interop/{directory.name}/{name}".lower(), "1")
        return RegistryStore(reference), f"docker://{reference}"
    if place == "layout":
        return LayoutStore(directory / name, "1"), f"oci:{directory / name}:1"
    return ArchiveStore(directory / f"{name}.tar", "1"), f"oci-archive:{directory / name}.tar:1"


@pytest.mark.parametrize("place", PLACES)
def test_skopeo_shows_our_manifest(skopeo: str, registry: str, tmp_path: Path, place: str) -> None:
    store, name = store_at(place, "x", registry, tmp_path)
    source = MemoryStore()
    bundle(source)
    digest = copy.copy(source, store, RecordingProgress()).bundle.digest
    raw = subprocess.run([skopeo, "inspect", "--raw", "--tls-verify=false", name], capture_output=True, check=True).stdout
    assert Digest.of(raw) == digest
    assert json.loads(raw)["artifactType"] == artifact.BUNDLE


def test_skopeo_reads_the_joined_parts(skopeo: str, tmp_path: Path) -> None:
    source = MemoryStore()
    bundle(source, tree(file("/s/f", random.Random(1).randbytes(200_000))))
    target = SplitFileStore(tmp_path / "x.tar", "1", None, Split(65536), RecordingProgress())
    digest = copy.copy(source, target, RecordingProgress()).bundle.digest
    subprocess.run(f"cat {tmp_path}/x.tar.[0-9]* > {tmp_path}/joined.tar", shell=True, check=True)
    command = [skopeo, "inspect", "--raw", f"oci-archive:{tmp_path}/joined.tar:1"]
    assert Digest.of(subprocess.run(command, capture_output=True, check=True).stdout) == digest


@pytest.mark.parametrize("goal", PLACES)
@pytest.mark.parametrize("origin", PLACES)
def test_skopeo_copies_a_bundle_and_keeps_its_digest(skopeo: str, registry: str, tmp_path: Path, origin: str, goal: str) -> None:
    ours, origin_name = store_at(origin, "origin", registry, tmp_path)
    source = MemoryStore()
    bundle(source)
    digest = copy.copy(source, ours, RecordingProgress()).bundle.digest
    theirs, goal_name = store_at(goal, "goal", registry, tmp_path)
    options = ["--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false", "--insecure-policy"]
    subprocess.run([skopeo, *options[3:], "copy", *options[:3], origin_name, goal_name], capture_output=True, check=True)
    found = read_bundle(theirs)
    assert found.digest == digest
    assert all(map(Table.of, found.manifest.layers))
    for blob in found.manifest.blobs:
        with theirs.open(blob) as stream:
            while stream.read(1000):
                pass
