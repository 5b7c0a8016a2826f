"""Every kind of store, opened through one maker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import MemoryStore, RecordingProgress
from places import Place, files_below, registry_place
from privateregistry import private_registry

from bundler.format.content import Digest
from bundler.format.reference import LocalReference
from bundler.ports import Store
from bundler.stores.archive.split_artifact import SplitTarget
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout.local import LocalStore
from bundler.stores.layout.store import LayoutStore


@pytest.fixture(scope="module", autouse=True)
def _few_authorities() -> Iterator[None]:
    """Let OpenSSL read no authorities of this host, which takes longer than a request; the tests need only their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", os.devnull)
        yield


@pytest.fixture(scope="session")
def registry_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="session")
def registry(registry_storage: Path) -> Iterator[str]:
    if os.environ.get("FPS_BUNDLE_OFFLINE_TESTS") == "1":
        pytest.skip("FPS_BUNDLE_OFFLINE_TESTS=1")
    with private_registry(storage=registry_storage) as address:
        yield address


@pytest.fixture(params=["memory", "layout", "archive", "local", "registry", "split"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "memory":
        shared = MemoryStore()
        return Place("memory", lambda name="1", digest=None: MemoryStore(name, digest, shared), list, True)
    if request.param == "layout":
        path = tmp_path / "layout"
        return Place("layout", lambda name="1", digest=None: LayoutStore(path, name, digest), lambda: files_below(path), True)
    if request.param == "archive":
        path = tmp_path / "archives"
        path.mkdir()
        return Place(
            "archive", lambda name="1", digest=None: ArchiveStore(path / "x.tar", name, digest), lambda: files_below(path), False
        )
    if request.param == "local":
        monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
        return Place(
            "local",
            lambda name="1", digest=None: LocalStore(LocalReference("model", name, digest)),
            lambda: files_below(tmp_path / "store"),
            True,
        )
    place = registry_place(request.getfixturevalue("registry"), request.getfixturevalue("registry_storage"))
    return split_place(place) if request.param == "split" else place


def split_place(inner: Place) -> Place:
    """A place in which each bundle is an archive in parts; what of a bundle is there can be told of its parts alone."""

    def open_store(name: str = "1", digest: Digest | None = None) -> Store:
        return SplitTarget(inner.open(name, digest), 65536, RecordingProgress())

    return Place("split", open_store, inner.files, False)
