"""What an engine leaves out of its archives is found, and named."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine, RecordingProgress, ScriptedModel, container, directory, file, link, special, tree

from bundler.errors import ModelError
from bundler.format.reference import LocalReference
from bundler.format.tar import Entry, Kind
from bundler.ports import Container, PathInfo, Reader
from bundler.stores.layout.local import LocalSpool
from bundler.streams import Readable
from bundler.verbs import push as pushing


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))


class Archive:
    """A reader by the engine's archives, which lack some paths."""

    sees_all = False

    def __init__(self, inner: Reader, lacking: Collection[str]) -> None:
        self._inner = inner
        self._lacking = lacking

    def stat(self, path: str) -> PathInfo | None:
        return self._inner.stat(path)

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        for entry, content in self._inner.entries(exports):
            if entry.path not in self._lacking:
                yield entry, content


class Careless(FakeEngine):
    """Leaves ``lacking`` out of its archives."""

    lacking: Collection[str] = ()

    def reader(self, container: Container, wanted: str) -> Reader:
        return Archive(super().reader(container, wanted), self.lacking)


def push(engine: FakeEngine, **options: Any) -> RecordingProgress:
    progress, target = RecordingProgress(), LocalReference("model", "1")
    pushing.push(engine.one, engine, ScriptedModel("/s"), LocalSpool(), target, progress, pushing.Options(**options))
    return progress


def engine(*lacking: str, **changes: Any) -> Careless:
    files = tree(
        file("/s/f"), directory("/s/d"), link("/s/l", Kind.SYMLINK, "f"), special("/s/socket", Kind.SOCKET), file("/s/d/g")
    )
    made = Careless(files=files, **changes)
    made.lacking = lacking
    return made


@pytest.mark.parametrize("pause", [True, False])
@pytest.mark.parametrize("lacking", ["/s/f", "/s/d/g", "/s/l"])
def test_what_the_archive_lacks_is_named(lacking: str, pause: bool) -> None:
    careless = engine(lacking)
    with pytest.raises(ModelError, match=f"left '{lacking}' out"):
        push(careless, pause=pause)
    assert not careless.is_paused


def test_a_socket_that_the_archive_lacks_is_told_as_one_that_it_has() -> None:
    assert push(engine("/s/socket")).warnings == push(engine()).warnings
    for lacking in ([], ["/s/socket"]):
        with pytest.raises(ModelError, match="/s/socket"):
            push(engine(*lacking), strict=True)


def test_what_was_deleted_since_the_changes_were_listed_is_not_missed() -> None:
    class Late(Careless):
        def changes(self, container: Container) -> dict[str, str]:
            return {**super().changes(container), "/s/gone": "added", "/s/was": "deleted"}

    late = Late(files=engine().files)
    assert len(push(late).warnings) == 1


@pytest.mark.parametrize("mount", ["/s/d", "/s"])
def test_what_lies_on_a_mount_is_not_in_the_changes(mount: str) -> None:
    """An engine lists what a mount hides, which no archive holds."""
    push(engine("/s/d/g", one=container(mounts={mount: "volume"})))


def test_names_that_the_changes_cannot_tell_are_not_missed() -> None:
    class Json(Careless):
        def changes(self, container: Container) -> dict[str, str]:
            return {path.replace("\udcff", "\ufffd"): change for path, change in super().changes(container).items()}

    push(Json(files=tree(file("/s/\udcff"))))


def test_a_reader_that_sees_all_asks_the_engine_for_no_changes() -> None:
    class Speechless(FakeEngine):
        def changes(self, container: Container) -> dict[str, str]:
            raise AssertionError(f"asked for the changes of {container.name}")

    push(Speechless(files=tree(file("/s/f"))))
