"""Archives and layouts with only what the other side lacks."""

from __future__ import annotations

import io
import os
import random
import subprocess
from pathlib import Path

import preloaded
import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree

from bundler.bundle import read_bundle
from bundler.errors import IntegrityError, NotFoundError
from bundler.format import thin_list
from bundler.format.content import Digest
from bundler.format.reference import LocalReference
from bundler.format.thin_list import Had
from bundler.ports import Store
from bundler.stores.archive import pipe
from bundler.stores.archive.split_files import Split, SplitFileStore
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.archive.thin import ThinStore, WholeStore
from bundler.stores.layout.local import LocalStore
from bundler.stores.layout.store import LayoutStore
from bundler.verbs import copy
from bundler.verbs.have import had

BIG = random.Random(1).randbytes(200_000)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))


@pytest.fixture
def old() -> MemoryStore:
    source = MemoryStore("7")
    bundle(source, tree(file("/s/f", BIG)), name="7")
    return source


@pytest.fixture
def new(old: MemoryStore) -> MemoryStore:
    """A bundle of the same layer with other metadata."""
    source = MemoryStore("8", shared=old)
    bundle(source, tree(file("/s/f", BIG)), name="8", created="2027-01-01T00:00:00Z")
    return source


def held(source: MemoryStore, name: str) -> list[Had]:
    return [had(f"detector:{name}", read_bundle(source).manifest)]


KINDS = ["archive", "layout", "split archive"]


def target(kind: str, directory: Path) -> Store:
    if kind == "archive":
        return ArchiveStore(directory / "x.tar", "8")
    if kind == "layout":
        return LayoutStore(directory / "layout", "8")
    return SplitFileStore(directory / "x.tar", "8", None, Split(65536), RecordingProgress())


def opened(kind: str, directory: Path) -> WholeStore:
    if kind == "layout":
        layout = LayoutStore(directory / "layout", "8")
        return WholeStore(layout, layout.has, lambda: LocalStore(LocalReference("")))
    archive = ArchiveStore(directory / "x.tar", "8")
    return WholeStore(archive, archive.holds, lambda: LocalStore(LocalReference("")))


def size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file() and "store" not in path.parts)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_other_side_has_is_left_out_and_found_there(tmp_path: Path, old: MemoryStore, new: MemoryStore, kind: str) -> None:
    (layer,) = read_bundle(new).manifest.layers
    result = copy.copy(new, ThinStore(target(kind, tmp_path), held(old, "7")), RecordingProgress())
    assert result.skipped == layer.size
    assert size(tmp_path) < 20_000
    copy.copy(old, LocalStore(LocalReference("detector", "7")), RecordingProgress())
    whole = MemoryStore("9")
    assert copy.copy(opened(kind, tmp_path), whole, RecordingProgress()).bundle.digest == new.tags["8"].digest
    assert whole.blobs[layer.digest] == new.blobs[layer.digest]


@pytest.mark.parametrize("kind", KINDS)
def test_the_bundle_that_is_missing_is_named(tmp_path: Path, old: MemoryStore, new: MemoryStore, kind: str) -> None:
    copy.copy(new, ThinStore(target(kind, tmp_path), held(old, "7")), RecordingProgress())
    found = read_bundle(opened(kind, tmp_path))  # what it is can be told without
    with pytest.raises(NotFoundError) as caught:
        copy.copy(opened(kind, tmp_path), MemoryStore("9"), RecordingProgress(), found)
    assert caught.value.exit_code == 6
    assert f"detector:7 ({old.tags['7'].digest})" in caught.value.message


def test_nothing_that_is_needed_makes_no_thin_archive(tmp_path: Path, new: MemoryStore) -> None:
    other = [Had("other", Digest.of(b"other"), frozenset({Digest.of(b"x")}))]
    copy.copy(new, ThinStore(ArchiveStore(tmp_path / "x.tar", "8"), other), RecordingProgress())
    copy.copy(new, ArchiveStore(tmp_path / "y.tar", "8"), RecordingProgress())
    assert (tmp_path / "x.tar").read_bytes() == (tmp_path / "y.tar").read_bytes()


def test_a_whole_archive_that_lost_a_blob_is_damaged(tmp_path: Path, old: MemoryStore, new: MemoryStore) -> None:
    """The local store does not stand in for what nobody left out."""
    copy.copy(old, LocalStore(LocalReference("detector", "7")), RecordingProgress())
    found = copy.copy(new, LayoutStore(tmp_path / "layout", "8"), RecordingProgress()).bundle
    (tmp_path / "layout" / "blobs" / "sha256" / found.manifest.layers[0].digest.hex).unlink()
    with pytest.raises(IntegrityError):
        opened("layout", tmp_path).open(found.manifest.layers[0])


def test_a_thin_archive_comes_through_a_pipe(tmp_path: Path, old: MemoryStore, new: MemoryStore) -> None:
    copy.copy(new, ThinStore(ArchiveStore(tmp_path / "x.tar"), held(old, "7")), RecordingProgress())
    copy.copy(old, LocalStore(LocalReference("detector", "7")), RecordingProgress())
    with pipe.received(io.BytesIO((tmp_path / "x.tar").read_bytes())) as received:
        copy.read_through(received, read_bundle(received), RecordingProgress())


def run(*command: str, store: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FPS_BUNDLE_STORE": str(store)}
    return subprocess.CompletedProcess(command, *preloaded.run(command, environment, Path.cwd(), timeout=300))


def test_from_the_list_to_the_copy(tmp_path: Path, old: MemoryStore, new: MemoryStore) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    copy.copy(old, ArchiveStore(tmp_path / "old.tar", "7"), RecordingProgress())
    copy.copy(new, ArchiveStore(tmp_path / "new.tar", "8"), RecordingProgress())
    assert run("copy", str(tmp_path / "new.tar"), "detector:8", store=here).returncode == 0
    assert run("copy", str(tmp_path / "old.tar"), "detector:7", store=there).returncode == 0
    listed = run("list", "--have", store=there).stdout
    assert [it.name for it in thin_list.read(listed.encode(), "it")] == ["detector:7"]
    (tmp_path / "there.json").write_text(listed)
    thin = str(tmp_path / "thin.tar")
    for known in (str(tmp_path / "there.json"), str(tmp_path / "old.tar")):
        assert run("copy", "detector:8", thin, "--have", known, store=here).returncode == 0
        assert Path(thin).stat().st_size < 20_000
    assert run("inspect", thin, store=tmp_path / "empty").returncode == 0
    missing = run("copy", thin, "detector:8", store=tmp_path / "empty")
    assert (missing.returncode, str(old.tags["7"].digest) in missing.stderr) == (6, True)
    done = run("copy", thin, "detector:8", store=there)
    assert done.stdout.strip() == str(new.tags["8"].digest)


@pytest.mark.parametrize("dest", ["detector:9", "127.0.0.1:9/x:1"])
def test_only_archives_and_layouts_can_be_thin(tmp_path: Path, dest: str) -> None:
    assert run("copy", "detector:8", dest, "--have", "detector:7", store=tmp_path).returncode == 2


@pytest.mark.parametrize("content", [b"{}", b"{", b'{"schemaVersion": 1}'])
def test_a_list_that_is_none_is_refused(tmp_path: Path, new: MemoryStore, content: bytes) -> None:
    copy.copy(new, ArchiveStore(tmp_path / "new.tar", "8"), RecordingProgress())
    (tmp_path / "list").write_bytes(content)
    done = run("copy", str(tmp_path / "new.tar"), str(tmp_path / "x.tar"), "--have", str(tmp_path / "list"), store=tmp_path / "s")
    assert done.returncode == 8
    assert not (tmp_path / "x.tar").exists()
