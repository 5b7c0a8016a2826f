"""Archives whose parts are the layers of one artifact: what travels after a change, after a cut, and how it is read."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import preloaded
import pytest
from bundles import metadata, noise
from fakes import MemoryStore, RecordingProgress

from bundler.bundle import read_bundle
from bundler.errors import IntegrityError, StoreError
from bundler.format import artifact, split_manifest
from bundler.format import metadata as meta
from bundler.format.content import Descriptor, Digest
from bundler.format.reference import RegistryReference
from bundler.ports import Store, Upload
from bundler.stores.archive.split_artifact import SplitStore, SplitTarget
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.registry.store import RegistryStore
from bundler.streams import Opener
from bundler.verbs import copy

PART = 65536


def random_bundle(*seeds: int, size: int = 300_000, **changes: Any) -> MemoryStore:
    """A store with a bundle that has a layer of random bytes for each seed."""
    store = MemoryStore()
    layers = [random.Random(seed).randbytes(size) for seed in seeds]
    described = [meta.Layer(diff_id=Digest.of(data), size=size, entries=1, exports=()) for data in layers]
    config = metadata(described, **changes).to_bytes()
    descriptors = [Descriptor.of(artifact.LAYER, data) for data in layers]
    manifest = artifact.build(metadata(described, **changes), Descriptor.of(artifact.CONFIG, config), descriptors)
    store.blobs |= {Digest.of(data): data for data in (*layers, config, manifest.data)}
    store.tags["1"] = manifest.descriptor
    return store


def sign(store: MemoryStore) -> None:
    """Let something refer to the bundle."""
    content = {
        "schemaVersion": 2,
        "mediaType": artifact.MANIFEST,
        "artifactType": "application/x-signature",
        "config": split_manifest.EMPTY.to_json(),
        "layers": [Descriptor.of("application/x-signature", b"signature").to_json()],
        "subject": store.tags["1"].to_json(),
    }
    data = json.dumps(content).encode()
    store.blobs |= {Digest.of(data): data, Digest.of(b"{}"): b"{}", Digest.of(b"signature"): b"signature"}
    store.unnamed.append(replace(Descriptor.of(artifact.MANIFEST, data), artifact_type="application/x-signature"))


class Counting(MemoryStore):
    """Counts what it is sent, and may fail after so many blobs."""

    parallel = 3

    def __init__(self, fails_after: int = 1 << 30) -> None:
        super().__init__()
        self.sent: list[Descriptor] = []
        self.fails_after = fails_after

    @contextmanager
    def upload(self, name: str, source: Store | None = None) -> Iterator[Upload]:
        with super().upload(name, source) as upload:
            yield _Counted(upload, self)


class _Counted:
    def __init__(self, inner: Upload, store: Counting) -> None:
        self.has, self.reserve, self.add, self.commit = inner.has, inner.reserve, inner.add, inner.commit
        self._inner = inner
        self._store = store

    @property
    def sent(self) -> int:
        return self._inner.sent

    def put(self, blob: Descriptor, opened: Opener) -> None:
        if len(self._store.sent) >= self._store.fails_after:
            raise StoreError("the link is down")
        self._inner.put(blob, opened)
        self._store.sent.append(blob)


def push(source: MemoryStore, target: Store, part_size: int = PART) -> RecordingProgress:
    progress = RecordingProgress()
    copy.copy(source, SplitTarget(target, part_size, progress), RecordingProgress())
    return progress


def parts(target: MemoryStore) -> list[Descriptor]:
    return list(split_manifest.read(target.blobs[target.tags["1"].digest], "here"))


def read(target: Store) -> Digest:
    store = SplitStore(target)
    found = read_bundle(store)
    copy.read_through(store, found, RecordingProgress())
    return found.digest


def test_the_parts_joined_are_the_archive(tmp_path: Path) -> None:
    source, target = random_bundle(1, 2), Counting()
    push(source, target)
    copy.copy(source, ArchiveStore(tmp_path / "x.tar", "1.0"), RecordingProgress())
    assert b"".join(target.blobs[part.digest] for part in parts(target)) == (tmp_path / "x.tar").read_bytes()
    assert max(part.size for part in parts(target)) == PART
    assert read(target) == source.tags["1"].digest


def test_what_is_there_travels_no_more() -> None:
    source, target = random_bundle(1, 2), Counting()
    push(source, target)
    assert len(target.sent) == len({part.digest for part in parts(target)}) + 1  # and the empty config
    target.sent.clear()
    push(source, target)
    assert target.sent == []


def test_after_a_small_change_only_the_parts_of_what_changed_travel() -> None:
    target = Counting()
    push(random_bundle(1, 2), target)
    target.sent.clear()
    changed = random_bundle(1, 3, created="2027-01-01T00:00:00Z")
    push(changed, target)
    assert 300_000 < sum(part.size for part in target.sent) < 310_000  # the second layer and the documents
    assert read(target) == changed.tags["1"].digest


def test_a_signature_that_was_added_travels_alone() -> None:
    source, target = random_bundle(1, 2), Counting()
    push(source, target)
    target.sent.clear()
    sign(source)
    push(source, target)
    assert sum(part.size for part in target.sent) < 10_000
    store = SplitStore(target)
    assert [found.digest for found in store.referrers(store.resolve())] == [source.unnamed[0].digest]
    whole = MemoryStore("2")
    copy.copy(SplitStore(target), whole, RecordingProgress())
    assert whole.blobs[Digest.of(b"signature")] == b"signature"


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_link_that_drops_costs_one_part_for_each_that_was_under_way(count: int) -> None:
    source, target = random_bundle(1, 2), Counting(fails_after=count)
    with pytest.raises(StoreError, match="link is down"):
        push(source, target)
    assert target.tags == {}
    before, target.fails_after = len(target.sent), 1 << 30
    push(source, target)
    assert count <= before < count + target.parallel
    assert len(target.sent) == len({part.digest for part in target.sent})
    assert read(target) == source.tags["1"].digest


def test_a_source_that_is_damaged_gives_no_name() -> None:
    source, target = random_bundle(1), Counting()
    layer = read_bundle(source).manifest.layers[0]
    source.blobs[layer.digest] = source.blobs[layer.digest][:-1] + b"?"
    with pytest.raises(IntegrityError):
        push(source, target)
    assert (target.tags, target.sent) == ({}, [])


def test_a_source_that_changes_while_it_is_sent_gives_no_name() -> None:
    class Changing(Counting):
        def has(self, blob: Descriptor) -> bool:
            source.blobs[layer.digest] = b"?" + source.blobs[layer.digest][1:]
            return super().has(blob)

    source, target = random_bundle(1), Changing()
    layer = read_bundle(source).manifest.layers[0]
    with pytest.raises(IntegrityError):
        push(source, target)
    assert target.tags == {}


def test_parts_grow_where_the_manifest_would_be_too_long() -> None:
    source, target = random_bundle(1, size=5_000_000), Counting()
    progress = push(source, target, part_size=400)
    assert len(target.blobs[target.tags["1"].digest]) <= 1 << 20
    assert "not 400" in progress.notes[0]
    assert read(target) == source.tags["1"].digest


@pytest.mark.parametrize("seed", range(20))
def test_any_changed_byte_in_a_part_is_noticed_or_is_padding(seed: int) -> None:
    source, target = random_bundle(1), Counting()
    push(source, target)
    part = random.Random(seed).choice(parts(target))
    data = bytearray(target.blobs[part.digest])
    data[random.Random(seed).randrange(len(data))] ^= 1
    target.blobs[part.digest] = bytes(data)
    with suppress(IntegrityError):
        assert read(target) == source.tags["1"].digest


def test_a_part_that_is_missing_is_named() -> None:
    source, target = random_bundle(1), Counting()
    push(source, target)
    gone = parts(target)[3]
    del target.blobs[gone.digest]
    with pytest.raises(IntegrityError, match=str(gone.digest)):
        read(target)


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": []},
        {"layers": None},
        {"layers": [{"mediaType": artifact.LAYER, "digest": str(Digest.of(b"x")), "size": 1}]},
        {"layers": [{"mediaType": split_manifest.PART, "digest": "sha256:../x", "size": 1}]},
        {"layers": [{"mediaType": split_manifest.PART, "digest": str(Digest.of(b"x")), "size": 1 << 62}]},
        {"layers": [{"mediaType": split_manifest.PART, "digest": str(Digest.of(b"x")), "size": 0}]},
        {"config": {"mediaType": artifact.CONFIG, "digest": str(Digest.of(b"x")), "size": 1}},
        {"manifests": []},
    ],
    ids=str,
)
def test_a_hostile_manifest_is_refused(changes: dict[str, Any]) -> None:
    target = Counting()
    push(random_bundle(1), target)
    content = json.loads(target.blobs[target.tags["1"].digest]) | changes
    data = json.dumps(content).encode()
    target.tags["1"] = Descriptor.of(artifact.MANIFEST, data)
    target.blobs[Digest.of(data)] = data
    with pytest.raises(IntegrityError):
        read(target)


@pytest.mark.parametrize("said", [str(Digest.of(b"another bundle")), None])
def test_a_manifest_of_the_parts_of_another_archive_is_refused(said: str | None) -> None:
    target = Counting()
    push(random_bundle(1), target)
    content = json.loads(target.blobs[target.tags["1"].digest]) | {
        "annotations": {split_manifest.BUNDLE_DIGEST: said} if said else {}
    }
    data = json.dumps(content).encode()
    target.tags["1"] = Descriptor.of(artifact.MANIFEST, data)
    target.blobs[Digest.of(data)] = data
    with pytest.raises(IntegrityError, match="another archive than the manifest lists" if said else "not a sha256 digest"):
        read(target)


def test_a_bundle_that_is_not_split_is_read_as_it_is() -> None:
    source = random_bundle(1, 2)
    assert read(source) == source.tags["1"].digest
    assert SplitStore(source).underlying_store() is source


def test_several_parts_travel_at_once() -> None:
    together = threading.Barrier(3, timeout=10)

    class Meeting(Counting):
        def has(self, blob: Descriptor) -> bool:
            if blob.size == PART:
                together.wait()
            return super().has(blob)

    target = Meeting()
    push(random_bundle(1, size=3 * PART), target)
    assert len(target.sent) > 3


def run(*command: str) -> str:
    done = preloaded.completed(*command, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_reads_it_as_the_bundle(tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    source = noise(600_000)
    digest = str(source.tags["1"].digest)
    copy.copy(source, ArchiveStore(tmp_path / "x.tar"), RecordingProgress())
    split, again, plain = (f"{registry}/split/{name}" for name in ("one:1", "two:1", "one:plain"))
    assert run("copy", str(tmp_path / "x.tar"), split, "--split", "64KiB").strip() == digest
    run("copy", str(tmp_path / "x.tar"), plain)
    assert json.loads(run("inspect", split, "--json"))["digest"] == digest
    assert digest in run("history", split)
    assert {line.split("\t")[0] for line in run("list", f"{registry}/split/one").splitlines() if digest in line} == {"1", "plain"}
    assert run("copy", split, again, "--split", "128KiB").strip() == digest
    assert list((tmp_path / "store" / "blobs" / "sha256").iterdir()) == []  # it was fetched to be read twice
    assert run("copy", again, "oci-archive:" + str(tmp_path / "y.tar") + ":1.0").strip() == digest
    assert (tmp_path / "y.tar").read_bytes() == (tmp_path / "x.tar").read_bytes()


FLAT = """
import sys
sys.path[:0] = [sys.argv[2]]
from fakes import RecordingProgress
from bundler.format.content import Descriptor, Digest, VerifyingReader
from bundler.streams import BLOCK, Begun
from bundler.format.reference import RegistryReference
from bundler.stores.registry.store import RegistryStore
from bundler.stores.archive.split_artifact import SplitStore, SplitTarget
import hashlib

SIZE = int(sys.argv[3])

class Numbers:
    '''A block for each number, none of which is like another.'''
    def __init__(self, offset): self.offset = offset
    def read(self, size=-1):
        number, start = divmod(self.offset, BLOCK)
        block = hashlib.sha256(b"%d" % number).digest() * (BLOCK // 32)
        data = block[start : start + min(size if size >= 0 else BLOCK, SIZE - self.offset)]
        self.offset += len(data)
        return data
    def close(self): pass

digest, source = hashlib.sha256(), Numbers(0)
while block := source.read(BLOCK):
    digest.update(block)
blob = Descriptor("application/octet-stream", Digest(digest.hexdigest()), SIZE)
manifest = b"{}"

def opened(begun=None):
    return VerifyingReader(Numbers(begun.size if begun else 0), blob, "numbers", begun)

reference = RegistryReference(sys.argv[1], "flat/split", "1")
with SplitTarget(RegistryStore(reference), 4 << 20, RecordingProgress()).upload("1") as upload:
    upload.put(blob, opened)
    upload.add(Descriptor.of("application/vnd.oci.image.manifest.v1+json", manifest), manifest)
    upload.commit(Descriptor.of("application/vnd.oci.image.manifest.v1+json", manifest))
with SplitStore(RegistryStore(reference)).open(blob) as stream:
    while stream.read(BLOCK):
        pass
status = open("/proc/self/status").read().split()
print(int(status[status.index("VmHWM:") + 1]) // 1024)
"""


def test_memory_stays_flat_while_parts_travel(registry: str) -> None:
    here = str(Path(__file__).parents[1] / "helpers")
    size = (512 if os.environ.get("FPS_BUNDLE_FAULTS") == "full" else 160) << 20
    outcome = subprocess.run([sys.executable, "-c", FLAT, registry, here, str(size)], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert int(outcome.stdout) < 100


def test_a_registry_takes_the_artifact(registry: str) -> None:
    source = random_bundle(1, 2)
    reference = RegistryReference(registry, f"split/{os.getpid()}", "1")
    push(source, RegistryStore(reference))
    assert read(RegistryStore(reference)) == source.tags["1"].digest
    data = RegistryStore(reference).manifest(RegistryStore(reference).resolve())
    assert json.loads(data)["artifactType"] == "application/vnd.fps.bundle.split.v1"
    assert json.loads(data)["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
