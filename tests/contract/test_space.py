"""A disk that is too small, or runs full in the middle."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import applied
import pytest
from bundles import bundle
from fakes import FakeEngine, MemoryStore, RecordingProgress, ScriptedModel, file, tree
from places import files_below

from bundler.bundle import read_bundle
from bundler.errors import NoSpaceError
from bundler.format.reference import LocalReference
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import base_image as bases
from bundler.verbs import push as pushing

LOCAL = LocalReference("model", "1.0")


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A file system of so many MiB, which only root can mount."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=0700", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # this process uses the store until it ends


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 72) as place:
        monkeypatch.setenv("FPS_BUNDLE_STORE", str(place / "store"))
        yield place


def push(engine: FakeEngine) -> pushing.PushResult:
    model = ScriptedModel("/s")
    return pushing.push(engine.one, engine, model, LocalSpool(), LOCAL, RecordingProgress(), pushing.Options())


def test_a_push_begins_only_where_there_is_some_room(disk: Path) -> None:
    (disk / "other").write_bytes(bytes(16 << 20))
    engine = FakeEngine(files=tree(file("/s/f")))
    with pytest.raises(NoSpaceError) as caught:
        push(engine)
    assert caught.value.exit_code == 11
    assert engine.pauses == 0


def test_a_disk_that_runs_full_resumes_the_model_and_nothing_is_left(disk: Path) -> None:
    noise = random.Random(1).randbytes(40 << 20)  # zstd gains nothing
    engine = FakeEngine(files=tree(file("/s/a", noise), file("/s/b", noise[::-1])))
    with pytest.raises(NoSpaceError):
        push(engine)
    assert engine.pauses == 1
    assert not engine.is_paused
    assert files_below(disk / "store" / "blobs") == []
    del engine.files["/s/b"]
    assert push(engine).bundle.digest == read_bundle(LocalSpool().open(LOCAL)).digest


@pytest.mark.parametrize(("image_store", "fits"), [("classic", False), ("podman", True), ("containerd", True)])
def test_an_apply_begins_only_where_the_new_layers_have_room(tmp_path: Path, image_store: str, fits: bool) -> None:
    source = MemoryStore()
    bundle(source, tree(file("/s/f", bytes(3 << 20))))
    with small_disk(tmp_path / "engine", 4) as root:
        engine = FakeEngine(root=str(root), image_store=image_store)
        found = read_bundle(source)
        base = bases.find(found.metadata.base, engine, None)

        def apply() -> None:
            applied.apply(found, source, base, "copy:1", engine, LocalSpool(), RecordingProgress(), dry_run=False)

        if fits:
            apply()
        else:
            with pytest.raises(NoSpaceError, match=str(root)):
                apply()
        assert bool(engine.loads) is fits
