"""Exports that hold no state are refused, unless they may."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FakeEngine, RecordingProgress, ScriptedModel, Tree, directory, file, link, special, tree

from bundler.errors import ModelError
from bundler.format.reference import LocalReference
from bundler.format.tar import Kind
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import push as pushing

LINK = link("/s", Kind.SYMLINK, "nowhere")
EMPTY: list[tuple[Tree, str]] = [
    (tree(LINK), "/s is a symbolic link"),
    (tree(link("/s", Kind.SYMLINK, "there"), file("/there")), "/s is a symbolic link"),
    (tree(special("/s")), "/s is a FIFO, a socket or a device"),
    (tree(special("/s", Kind.SOCKET)), "/s is a FIFO, a socket or a device"),
    (tree(special("/s", Kind.CHARACTER_DEVICE)), "/s is a FIFO, a socket or a device"),
    (tree(special("/s/a"), special("/s/b", Kind.SOCKET)), "/s is a directory of FIFOs, sockets or devices alone"),
    (tree(special("/s/a/b/c", Kind.BLOCK_DEVICE)), "/s is a directory of FIFOs, sockets or devices alone"),
    (tree(special("/s/a"), link("/s/b", Kind.HARD_LINK, "/s/a")), "/s is a directory of FIFOs, sockets or devices alone"),
]
STATE = [
    tree(directory("/s")),
    tree(directory("/s/a"), directory("/s/b")),
    tree(file("/s", b"")),
    tree(file("/s/f", b""), special("/s/p")),
    tree(link("/s/l", Kind.SYMLINK, "nowhere"), special("/s/p")),
]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def push(engine: FakeEngine, *exports: str, dry_run: bool = False, allow_empty: bool = False) -> pushing.PushResult:
    options = pushing.Options(dry_run=dry_run, allow_empty=allow_empty)
    return pushing.push(
        engine.one, engine, ScriptedModel(*exports), LocalSpool(), LocalReference("m", "1"), RecordingProgress(), options
    )


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(("files", "why"), EMPTY)
def test_an_export_without_state_is_refused_and_nothing_is_left(files: Tree, why: str, dry_run: bool, store: Path) -> None:
    engine = FakeEngine(files=files)
    with pytest.raises(ModelError, match=f"the exported paths hold no state: {why}") as caught:
        push(engine, "/s", dry_run=dry_run)
    assert caught.value.exit_code == 3
    assert "--allow-empty" in caught.value.hint
    assert not engine.is_paused
    assert list((store / "blobs" / "sha256").iterdir()) == []


@pytest.mark.parametrize("files", [files for files, _ in EMPTY])
def test_an_export_without_state_is_pushed_when_it_may(files: Tree) -> None:
    assert push(FakeEngine(files=files), "/s", allow_empty=True).bundle.metadata.exports[0].size == 0


@pytest.mark.parametrize("files", STATE)
def test_a_file_of_any_size_and_an_empty_directory_are_state(files: Tree) -> None:
    assert len(push(FakeEngine(files=files), "/s").bundle.manifest.layers) == 1


def test_one_export_with_state_is_enough_and_without_any_all_are_named() -> None:
    engine = FakeEngine(files=tree(LINK, special("/p"), file("/f")))
    assert push(engine, "/s", "/p", "/f").bundle.metadata.exports[2].size == 4
    with pytest.raises(ModelError, match=r"/p is a FIFO, a socket or a device, /s is a symbolic link"):
        push(engine, "/s", "/p")


def test_what_was_deleted_out_of_the_base_is_state() -> None:
    engine = FakeEngine(files=tree(special("/s")), base_files=tree(file("/s")))
    assert push(engine, "/s").bundle.metadata.removed == ("/s",)
