"""What exported files need and a bundle leaves behind is told, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes import CLEAN, FakeEngine, RecordingProgress, ScriptedModel, container, directory, file, image, link, tree

from bundler.errors import EngineError, ModelError
from bundler.format import image as images
from bundler.format import tar
from bundler.format.reference import LocalReference
from bundler.format.tar import Kind
from bundler.ports import Container, Image
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import left_behind
from bundler.verbs import push as pushing


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))


def push(engine: FakeEngine, *exports: str, strict: bool = False) -> list[str]:
    """The warnings of a push."""
    progress, options = RecordingProgress(), pushing.Options(strict=strict)
    target = LocalReference("model", "1")
    pushing.push(engine.one, engine, ScriptedModel(*exports), LocalSpool(), target, progress, options)
    return progress.warnings


def symlink(path: str, target: str) -> tuple[tar.Entry, bytes]:
    return link(path, Kind.SYMLINK, target)


SNAPSHOT = tree(symlink("/hub/snapshots/1/weights", "../../blobs/abc"), file("/hub/blobs/abc", b"weights"))


def test_a_link_out_of_the_exports_is_told_with_its_target() -> None:
    (warning,) = push(FakeEngine(files=SNAPSHOT), "/hub/snapshots/1")
    assert "the targets of 1 exported symbolic link:" in warning
    assert "/hub/snapshots/1/weights -> /hub/blobs/abc" in warning
    with pytest.raises(ModelError, match="/hub/blobs/abc"):
        push(FakeEngine(files=SNAPSHOT), "/hub/snapshots/1", strict=True)
    assert push(FakeEngine(files=SNAPSHOT), "/hub/snapshots/1", "/hub/blobs", strict=True) == []


@pytest.mark.parametrize(
    ("files", "base", "lost"),
    [
        pytest.param([symlink("/s/l", "/opt/f"), file("/opt/f")], [], "/opt/f", id="absolute"),
        pytest.param([symlink("/s/l", "/opt/f"), file("/opt/f")], [file("/opt/f")], "", id="of the clean base"),
        pytest.param([symlink("/s/l", "../opt/none")], [], "", id="dangling"),
        pytest.param([symlink("/s/l", "f"), file("/s/f")], [], "", id="inside"),
        pytest.param([symlink("/s/d/l", "../../s/f"), file("/s/f")], [], "", id="out and back in"),
        pytest.param([symlink("/s/l", "/opt/one"), symlink("/opt/one", "two"), file("/opt/two")], [], "/opt/two", id="two links"),
        pytest.param(
            [symlink("/s/l", "/opt/one"), symlink("/opt/one", "/s/f"), file("/s/f")], [], "/opt/one", id="back in by a new link"
        ),
        pytest.param(
            [symlink("/s/l", "/opt/one/f"), symlink("/opt/one", "/data"), file("/data/f")],
            [symlink("/opt/one", "/data"), file("/data/f")],
            "",
            id="through a link of the base",
        ),
        pytest.param([symlink("/s/l", "/opt/a"), symlink("/opt/a", "b"), symlink("/opt/b", "a")], [], "", id="a loop"),
        pytest.param([symlink("/s/l", "/opt"), file("/opt/new")], [], "/opt", id="a new directory"),
        pytest.param(
            [symlink("/s/l", "/opt"), file("/opt/old"), file("/opt/d/new")],
            [file("/opt/old"), directory("/opt/d")],
            "/opt",
            id="a directory with something new in it",
        ),
        pytest.param([symlink("/s/l", "/opt"), file("/opt/old")], [file("/opt/old")], "", id="a directory of the base"),
        pytest.param([symlink("/a/s/l", "/a"), file("/a/s/f")], [], "", id="the directory above the export"),
        pytest.param([symlink("/s/l", "/proc/1/f"), file("/proc/1/f")], [], "", id="made anew"),
        pytest.param([symlink("/s/l", "/etc/hosts"), file("/etc/hosts")], [], "", id="the engine's own file"),
        pytest.param([symlink("/s/l", "/tmpfs/f"), file("/tmpfs/f")], [], "", id="in memory"),
        pytest.param([symlink("/s/l", "/vol/f"), file("/vol/f")], [file("/vol/f")], "/vol/f", id="on a volume"),
        pytest.param([symlink("/s/l", "/"), file("/new")], [], "/", id="the root"),
    ],
)
def test_a_target_is_told_when_it_exists_and_is_not_of_the_clean_base(
    files: list[tuple[tar.Entry, bytes]], base: list[tuple[tar.Entry, bytes]], lost: str
) -> None:
    made = tree(directory("/s"), *files)
    made["/"] = directory("/")
    known = tree(*base) | {"/": made["/"]}
    mounts = {"/tmpfs": "tmpfs", "/vol": "volume"}
    engine = Known(files=made, base_files=known, one=container(mounts=mounts))
    warnings = push(engine, "/a/s" if "/a/s" in made else "/s")
    assert [warning.rpartition(" -> ")[2] for warning in warnings] == ([lost] if lost else [])


class Known(FakeEngine):
    """Lists changes as engines do: without mounts, and with the directories above a change as changed."""

    def changes(self, container: Container) -> dict[str, str]:
        added = {path for path in super().changes(container) if path.split("/")[1] not in ("vol", "tmpfs", "proc")}
        above = {directory for path in added for directory in (path.rpartition("/")[0],) if directory and directory not in added}
        return dict.fromkeys(above, "changed") | dict.fromkeys(added, "added")


def test_examples_are_few_and_the_links_that_are_looked_up_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_behind, "MAX_LINKS", 20)
    files = tree(*(symlink(f"/s/{number}", f"/out/{number}") for number in range(30)), *(file(f"/out/{n}") for n in range(30)))
    told, unchecked = push(FakeEngine(files=files), "/s")
    assert "20 exported symbolic links" in told
    assert told.count(" -> ") == 5
    assert "10 more" in unchecked
    with pytest.raises(ModelError, match="10 more"):
        push(FakeEngine(files=files), "/s", strict=True)


def test_what_an_earlier_bundle_brought_is_not_of_the_clean_base() -> None:
    """The image of the container has the target, so that it is no change; the clean base has it not."""
    clean = image()
    grown = image("grown:1", layers=3)
    labels = {
        **grown.labels,
        images.LABEL_IMAGE_LAYERS: "3",
        images.LABEL_BASE_LAYERS: "2",
        images.LABEL_CHAIN_ID: str(images.chain_id(clean.diff_ids)),
    }
    grown = image("grown:1", layers=3, config={**grown.config, "Labels": labels})

    class Grown(FakeEngine):
        def changes(self, container: Container) -> dict[str, str]:
            del container
            return {}

        @contextmanager
        def created(self, image: Image) -> Iterator[Container]:
            assert image.id == clean.id
            yield container(id=CLEAN)

    engine = Grown(
        files=tree(symlink("/s/l", "/out/f"), symlink("/s/m", "/base/f"), file("/out/f"), file("/base/f")),
        base_files=tree(file("/base/f")),
        held=[clean, grown],
        one=container(image_id=grown.id),
    )
    (warning,) = push(engine, "/s")
    assert warning.endswith("/s/l -> /out/f")


@pytest.mark.parametrize(("beside", "told"), [("-wal", True), ("-journal", True), ("-shm", False), (".bak", False)])
def test_an_exported_database_without_its_journal_is_told(beside: str, told: bool) -> None:
    engine = FakeEngine(files=tree(file("/srv/state.db"), file(f"/srv/state.db{beside}", b"rows")))
    warnings = push(engine, "/srv/state.db")
    assert [f"/srv/state.db{beside}" in warning for warning in warnings] == ([True] if told else [])
    assert push(engine, "/srv") == []
    assert push(engine, "/srv/state.db", f"/srv/state.db{beside}") == []
    if told:
        with pytest.raises(ModelError, match="last transactions"):
            push(engine, "/srv/state.db", strict=True)


def test_an_empty_journal_holds_nothing() -> None:
    assert push(FakeEngine(files=tree(file("/srv/state.db"), file("/srv/state.db-journal", b""))), "/srv/state.db") == []


class Speechless(FakeEngine):
    def changes(self, container: Container) -> dict[str, str]:
        raise EngineError(f"no comparison of {container.name}")


def test_an_engine_that_cannot_compare_fails_strict_pushes_only() -> None:
    (warning,) = push(Speechless(files=SNAPSHOT), "/hub/snapshots/1")
    assert "no comparison" in warning
    with pytest.raises(EngineError):
        push(Speechless(files=SNAPSHOT), "/hub/snapshots/1", strict=True)
