"""What is special about a registry: who we are, where it is, what it forgets."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree
from places import files_below
from privateregistry import private_registry

from bundler.bundle import read_bundle
from bundler.errors import AuthorizationError, BusyError, NotFoundError, StoreError
from bundler.format.content import Descriptor
from bundler.format.reference import RegistryReference
from bundler.stores.registry.store import RegistryStore
from bundler.verbs import copy


@pytest.fixture
def source() -> MemoryStore:
    store = MemoryStore()
    bundle(store)
    return store


def configure(directory: Path, registry: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    auth = base64.b64encode(f"user:{secret}".encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(directory))


def test_credentials_open_a_registry_that_wants_them(source: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with private_registry("user", "secret") as address:
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
        reference = RegistryReference(address, "team/x", "1")
        with pytest.raises(AuthorizationError, match="user name") as caught:
            RegistryStore(reference).resolve()
        assert caught.value.exit_code == 7
        configure(tmp_path, address, "wrong", monkeypatch)
        with pytest.raises(AuthorizationError):
            copy.copy(source, RegistryStore(reference), RecordingProgress())
        configure(tmp_path, address, "secret", monkeypatch)
        copy.copy(source, RegistryStore(reference), RecordingProgress())
        assert read_bundle(RegistryStore(reference)).digest == source.tags["1"].digest


def test_a_registry_that_is_not_there_is_told_at_once() -> None:
    attempts: list[str] = []
    with pytest.raises(StoreError) as caught:
        RegistryStore(RegistryReference("127.0.0.1:9", "x", "1"), tell=attempts.append)
    assert caught.value.exit_code == 5
    assert attempts == [], "it is tried once"


class _Raced(RegistryStore):
    """A registry in which another process moves the tag just after it was pushed."""

    def resolve(self) -> Descriptor:
        other = MemoryStore()
        bundle(other, extra="other")
        copy.copy(other, RegistryStore(self.reference), RecordingProgress())
        return super().resolve()


def test_a_tag_that_another_process_moves_at_the_same_time_is_exit_code_12(registry: str, source: MemoryStore) -> None:
    with pytest.raises(BusyError, match=r"another process pushed sha256:[0-9a-f]{64} to this tag") as caught:
        copy.copy(source, _Raced(RegistryReference(registry, "raced/tag", "1")), RecordingProgress())
    assert (caught.value.exit_code, bool(caught.value.hint)) == (12, True)


def test_a_repository_that_is_not_there_is_not_found(registry: str) -> None:
    with pytest.raises(NotFoundError):
        RegistryStore(RegistryReference(registry, "nothing/here", "1")).resolve()
    with pytest.raises(NotFoundError):
        RegistryStore(RegistryReference(registry, "nothing/here", "1")).names()


def test_a_blob_that_the_registry_lost_is_sent_again(registry: str, registry_storage: Path, source: MemoryStore) -> None:
    store = RegistryStore(RegistryReference(registry, "lost/blob", "1"))
    found = copy.copy(source, store, RecordingProgress()).bundle
    layer = found.manifest.layers[0]
    for path in files_below(registry_storage):
        if layer.digest.hex in str(path) and path.name == "data":
            path.unlink()
    assert not store.has(layer)
    assert copy.copy(source, store, RecordingProgress()).sent == layer.size
    with store.open(layer) as stream:
        assert stream.read() == source.blobs[layer.digest]


FLAT = """
import io, sys
sys.path[:0] = [sys.argv[2]]
from bundler.format.content import Descriptor, Digest, VerifyingReader
from bundler.streams import BLOCK
from bundler.format.reference import RegistryReference
from bundler.stores.registry.store import RegistryStore
import hashlib

class Zeros:
    def __init__(self, size): self.left = size
    def read(self, size=-1):
        data = bytes(min(size if size >= 0 else self.left, self.left, BLOCK)); self.left -= len(data); return data
    def close(self): pass

SIZE = int(sys.argv[3])
digest, source = hashlib.sha256(), Zeros(SIZE)
while block := source.read(BLOCK):
    digest.update(block)
blob = Descriptor("application/octet-stream", Digest(digest.hexdigest()), SIZE)
store = RegistryStore(RegistryReference(sys.argv[1], "flat/memory", "1"))
store.put_blob(blob, lambda begun=None: VerifyingReader(Zeros(SIZE), blob, "zeros"))
with store.open(blob) as stream:
    while stream.read(BLOCK):
        pass
# Not ru_maxrss, in which the peak of the process that forked this one lives on.
status = open("/proc/self/status").read().split()
print(int(status[status.index("VmHWM:") + 1]) // 1024)
"""


def test_memory_stays_flat_for_a_large_blob(registry: str) -> None:
    here = str(Path(__file__).parents[1] / "helpers")
    size = (512 if os.environ.get("FPS_BUNDLE_FAULTS") == "full" else 192) << 20
    outcome = subprocess.run([sys.executable, "-c", FLAT, registry, here, str(size)], capture_output=True, text=True, check=True)
    assert int(outcome.stdout) < 120


def test_a_large_bundle_of_many_blobs_arrives(registry: str) -> None:
    store = MemoryStore()
    bundle(store, tree(*(file(f"/s/{number}", bytes([number]) * 10_000) for number in range(50))))
    target = RegistryStore(RegistryReference(registry, "many/files", "1"))
    assert copy.copy(store, target, RecordingProgress()).sent > 0
    (named,) = target.names()
    assert named.manifest.digest == store.tags["1"].digest
