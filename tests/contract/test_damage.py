"""Whatever byte of an archive is damaged, and wherever it is cut: a clean refusal, or exactly the bundle; never another content."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import applied
import pytest
import tally
from bundles import bundle
from fakes import FakeEngine, MemoryStore, RecordingProgress, image

from bundler.bundle import read_bundle
from bundler.errors import BundlerError, IntegrityError, NotFoundError
from bundler.format.content import Digest
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import copy

FULL = os.environ.get("FPS_BUNDLE_FAULTS") == "full"
SAMPLE = 16
"""One of how many places is tried outside the soak where one place is like the next: in blobs, which have a digest, and padding."""


@dataclass(frozen=True)
class Part:
    """One file in the archive: where its header begins, and where its content lies."""

    name: str
    header: int
    start: int
    end: int

    def is_structure(self, place: int) -> bool:
        """Whether a byte belongs to the header of the file, or to a file that has no digest."""
        return self.header <= place < self.start or (not self.digest and self.start <= place < self.end)

    @property
    def digest(self) -> str:
        return self.name.rpartition("/")[2] if self.name.startswith("blobs/") else ""


class Archive:
    """A sound archive, to be damaged and mended again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        source = MemoryStore()
        bundle(source)
        self.digest = copy.copy(source, self.store(), RecordingProgress()).bundle.digest
        self.data = path.read_bytes()
        with tarfile.open(path) as archive:
            self.parts = [Part(file.name, file.offset, file.offset_data, file.offset_data + file.size) for file in archive]

    def store(self) -> ArchiveStore:
        return ArchiveStore(self.path, "1")

    @contextmanager
    def with_byte(self, place: int, value: int) -> Iterator[None]:
        with self.path.open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), bytes([value]), place)
            yield
            os.pwrite(file.fileno(), self.data[place : place + 1], place)

    def apply(self) -> Digest:
        """Apply what is there to a fake engine; gives the digest, or raises with the engine untouched."""
        engine = FakeEngine()
        try:
            found = read_bundle(self.store())
            applied.apply(found, self.store(), image(), "new:1", engine, LocalSpool(), RecordingProgress(), dry_run=False)
        except BundlerError:
            assert engine.loads == []
            raise
        return found.digest

    def outcome(self, blob: str = "") -> str:
        """How a damaged archive is taken; damage inside a blob must be told with the digest of that blob."""
        try:
            found = self.apply()
        except (IntegrityError, NotFoundError) as error:
            refusal = error
        else:
            assert found == self.digest
            assert not blob, "a damaged blob was taken for sound"
            return "exactly the bundle"
        assert blob in refusal.message
        return "refused as damaged" if isinstance(refusal, IntegrityError) else "refused as not found"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "bundle.tar")


def test_a_flipped_byte_is_refused_or_carries_nothing(archive: Archive) -> None:
    for place, byte in enumerate(archive.data):
        if not FULL and place % SAMPLE and not any(part.is_structure(place) for part in archive.parts):
            continue
        blob = next((part.digest for part in archive.parts if part.start <= place < part.end), "")
        with archive.with_byte(place, byte ^ 1 << place % 8):
            tally.count("flipped bytes of an archive", archive.outcome(blob))
    assert archive.outcome() == "exactly the bundle"


def test_a_shorter_length_is_refused_or_lacks_nothing(archive: Archive) -> None:
    last = archive.parts[-1].end
    for size in reversed(range(len(archive.data))):
        if not FULL and size % SAMPLE and size % tarfile.BLOCKSIZE < tarfile.BLOCKSIZE - SAMPLE:  # all lengths just below a block
            continue
        os.truncate(archive.path, size)
        outcome = archive.outcome()
        assert outcome == "refused as damaged" if size < last else outcome in ("refused as damaged", "exactly the bundle")
        tally.count("truncations of an archive", outcome)


def test_an_index_that_names_another_sound_blob_as_the_bundle_is_refused(archive: Archive) -> None:
    """A digest in ``index.json`` can be replaced by that of a blob that is really there."""
    index = archive.data.rindex(archive.digest.hex.encode())
    others = [part.digest for part in archive.parts if part.digest not in ("", archive.digest.hex)]
    for other in others:
        archive.path.write_bytes(archive.data[:index] + other.encode() + archive.data[index + 64 :])
        assert archive.outcome().startswith("refused")
