"""A blob that comes damaged over a network into an archive is fetched once more, and the archive is as it should be."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from bundles import noise
from fakes import MemoryStore, RecordingProgress

from bundler.errors import IntegrityError
from bundler.format.content import Descriptor, VerifyingReader
from bundler.stores.archive.pipe import PipeStore
from bundler.stores.archive.store import ArchiveStore
from bundler.streams import Begun, Stream
from bundler.verbs import copy

SIZE = 3 << 20


class Damaging(MemoryStore):
    """Gives its layer with another last byte, so many times."""

    def __init__(self, sound: MemoryStore, times: int, *, rereadable: bool = False) -> None:
        super().__init__(shared=sound)
        self.rereadable = rereadable
        self.opened = 0
        self._times = times

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        self.opened += blob.size >= SIZE
        if blob.size < SIZE or self.opened > self._times:
            return super().open(blob, begun)
        return VerifyingReader(io.BytesIO(self.blobs[blob.digest][:-1] + b"?"), blob, self.where)


@pytest.fixture
def sound() -> MemoryStore:
    return noise(SIZE)


def test_an_archive_is_whole_after_a_blob_came_damaged(tmp_path: Path, sound: MemoryStore) -> None:
    copy.copy(sound, ArchiveStore(tmp_path / "sound.tar", "1"), RecordingProgress())
    progress = RecordingProgress()
    target = ArchiveStore(tmp_path / "x.tar", "1", progress=progress)
    result = copy.copy(Damaging(sound, times=1), target, progress)
    assert (tmp_path / "x.tar").read_bytes() == (tmp_path / "sound.tar").read_bytes()
    assert progress.done == result.sent
    (note,) = progress.notes
    assert "once more" in note
    assert str(result.bundle.manifest.layers[0].digest) in note


@pytest.mark.parametrize(("times", "rereadable", "opened"), [(2, False, 2), (1, True, 1)])
def test_what_stays_damaged_is_refused_and_leaves_nothing(
    tmp_path: Path, sound: MemoryStore, times: int, rereadable: bool, opened: int
) -> None:
    source = Damaging(sound, times, rereadable=rereadable)
    with pytest.raises(IntegrityError, match="damaged"):
        copy.copy(source, ArchiveStore(tmp_path / "x.tar", "1"), RecordingProgress())
    assert source.opened == opened
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_cannot_take_back_what_came_damaged_and_says_what_can(tmp_path: Path, sound: MemoryStore) -> None:
    source = Damaging(sound, times=1)
    with (tmp_path / "x").open("wb") as output, pytest.raises(IntegrityError, match="damaged") as caught:
        copy.copy(source, PipeStore(output.fileno(), "1"), RecordingProgress())
    assert "pipe" in caught.value.hint
    assert source.opened == 1
