"""What was written is read back from its medium before it gets its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundles import bundle, noise
from fakes import MemoryStore, RecordingProgress, file, tree

from bundler.errors import IntegrityError
from bundler.format.content import Descriptor, Digest
from bundler.localfs.atomic_file import PartFile
from bundler.localfs.readback import WORTH_TELLING
from bundler.ports import Store
from bundler.stores.archive.split_files import Split, SplitFileStore
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout.store import LayoutStore
from bundler.streams import NULL_PROGRESS, Begun, Progress, Stream
from bundler.verbs import copy


def damage(directory: Path) -> None:
    """Change the first byte of everything that is being written below a directory, as a stick that lies would."""
    for path in directory.rglob(".fps-bundle-*"):
        if path.stat().st_size:
            with path.open("r+b") as file:
                file.write(b"?")


class Lying(MemoryStore):
    """A source during whose reading the medium of the target goes bad."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        return _Lying(super().open(blob, begun), self._directory)


class _Lying(Stream):
    def __init__(self, content: Stream, directory: Path) -> None:
        self._content = content
        self._directory = directory

    def read(self, size: int = -1, /) -> bytes:
        data = self._content.read(size)
        if not data:
            damage(self._directory)
        return data

    def close(self) -> None:
        self._content.close()


def target(kind: str, directory: Path, *, verify_written: bool, progress: Progress = NULL_PROGRESS) -> Store:
    if kind == "archive":
        return ArchiveStore(directory / "x.tar", verify_written=verify_written, progress=progress)
    if kind == "parts":
        return SplitFileStore(directory / "x.tar", "", None, Split(WORTH_TELLING, verify_written=verify_written), progress)
    return LayoutStore(directory / "layout", "1", verify_written=verify_written, progress=progress)


@pytest.mark.parametrize("kind", ["archive", "layout"])
def test_a_medium_that_lies_is_noticed_before_the_name_is_there(tmp_path: Path, kind: str) -> None:
    source = Lying(tmp_path)
    noise = b"".join(bytes.fromhex(Digest.of(str(number).encode()).hex) for number in range(100_000))
    bundle(source, tree(file("/s/f", noise)))  # more than a file object holds back
    with pytest.raises(IntegrityError, match="returned other data than was written") as caught:
        copy.copy(source, target(kind, tmp_path, verify_written=True), RecordingProgress())
    assert caught.value.exit_code == 8
    assert "stick" in caught.value.hint
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 1000]
    copy.copy(source, target(kind, tmp_path, verify_written=False), RecordingProgress())


@pytest.mark.parametrize("kind", ["archive", "layout", "parts"])
def test_reading_back_what_takes_long_is_seen(tmp_path: Path, kind: str) -> None:
    source, progress = noise(WORTH_TELLING), RecordingProgress()
    copy.copy(source, target(kind, tmp_path, verify_written=True, progress=progress), RecordingProgress())
    ((text, size),) = progress.asides
    assert text.startswith("reading back ")
    assert str(tmp_path) in text or text == "reading back x.tar.001"
    assert size in [path.stat().st_size for path in tmp_path.rglob("*")]
    (tmp_path / "other").mkdir()
    other = RecordingProgress()
    copy.copy(source, target(kind, tmp_path / "other", verify_written=False, progress=other), RecordingProgress())
    assert other.asides == []


def test_what_the_medium_gives_back_gets_its_name(tmp_path: Path) -> None:
    with PartFile(tmp_path) as part:
        part.write(b"abc")
        part.read_back(Digest.of(b"abc").hex)
        part.publish(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"abc"
