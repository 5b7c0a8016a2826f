"""What is read from a paused container is of one moment: walks before and after, or a second reading of what lies on mounts."""

from __future__ import annotations

import io
import os
import resource
import subprocess
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import pytest
from fakes import RecordingProgress, Tree, container, file, tree

from bundler.engines.direct_reader import DirectReader
from bundler.errors import ModelError
from bundler.format.compression_mode import Compression
from bundler.format.tar import Entry
from bundler.ports import PathInfo, Reader, Seen, Surveyor
from bundler.streams import Readable
from bundler.verbs import stable_read
from bundler.verbs.estimate import DIRECT_RATE, ENTRY_TIME, FIXED_TIME, cost_of_holes, estimate
from bundler.verbs.paused_read import SurveyedReader, paused_reader


def nothing_ignored(path: str) -> bool:
    del path
    return False


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "s" / "deep").mkdir(parents=True)
    for name in ("a", "deep/inner", "z\n\udcff"):
        (tmp_path / "s" / name).write_text("state")
    return tmp_path


class ActingReader(DirectReader):
    """Reads a directory of this host, and lets something happen after that."""

    act: Callable[[], object]

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        yield from super().entries(exports)
        self.act()


def opened(root: Path, act: Callable[[], object] = lambda: None) -> ActingReader:
    reader = ActingReader(os.open(root, os.O_RDONLY | os.O_DIRECTORY))
    reader.act = act
    return reader


def read(root: Path, act: Callable[[], object], ignored: Callable[[str], bool] = nothing_ignored) -> list[str]:
    reader = paused_reader(opened(root, act), container(), ["/s"], ignored, RecordingProgress())
    assert isinstance(reader, SurveyedReader)
    return [entry.path for entry, content in reader.entries(["/s"]) if content.read() is not None]


def test_what_does_not_change_is_given_once(root: Path) -> None:
    assert read(root, lambda: None) == ["/s", "/s/a", "/s/deep", "/s/deep/inner", "/s/z\n\udcff"]


def replaced(path: Path) -> None:
    """The same content with the same times in another inode."""
    found = path.stat()
    path.rename(path.parent.parent.parent / "old")
    path.write_text("state")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize(
    ("act", "named"),
    [
        (lambda s: (s / "a").write_text("other"), "/s/a changed"),
        (lambda s: (s / "deep" / "inner").write_text("longer than before"), "/s/deep/inner changed"),
        (lambda s: (s / "z\n\udcff").touch(), "/s/z%0A%FF changed"),
        (lambda s: (s / "a").chmod(0o600), "/s/a changed while the model was paused (type or mode, time of change)"),
        (lambda s: os.utime(s / "a", (1, 1)), "/s/a changed while the model was paused (time of modification, time of change)"),
        (lambda s: (s / "new").touch(), "/s changed"),
        (lambda s: (s / "deep" / "inner").unlink(), "/s/deep changed"),
        (lambda s: replaced(s / "deep" / "inner"), "/s/deep changed"),
        (lambda s: s.rename(s.parent / "gone"), "/s disappeared"),
    ],
)
def test_any_change_is_refused_and_named(root: Path, act: Callable[[Path], object], named: str) -> None:
    with pytest.raises(ModelError) as caught:
        read(root, lambda: act(root / "s"))
    assert caught.value.message.startswith(named)
    assert "another container with the same volume" in caught.value.hint


def test_what_no_capture_takes_may_change(root: Path) -> None:
    assert read(root, lambda: (root / "s" / "deep" / "new").touch(), lambda path: path == "/s/deep")


def test_use_of_a_fifo_is_no_change(root: Path) -> None:
    os.mkfifo(root / "s" / "fifo")
    read(root, lambda: os.utime(root / "s" / "fifo", (1, 1)))
    with pytest.raises(ModelError, match="/s changed"):
        read(root, (root / "s" / "fifo").unlink)


def test_the_walk_goes_deeper_than_pythons_stack(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    for name in ["s", *["d"] * 1500]:
        os.mkdir(name, dir_fd=descriptor)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        assert sum(1 for _ in opened(tmp_path).survey(["/s"], nothing_ignored)) == 1501
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        subprocess.run(["rm", "-rf", tmp_path / "s"], check=True)  # pytest cannot remove so deep a tree


class TwoTrees:
    """A reader by an engine's API that finds another tree at its second walk."""

    sees_all = False

    def __init__(self, *trees: Tree) -> None:
        self._trees = list(trees)
        self.walks: list[Sequence[str]] = []

    def stat(self, path: str) -> PathInfo | None:
        raise NotImplementedError

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        self.walks.append(exports)
        for path, (entry, data) in self._trees.pop(0).items():
            if any(path == export or path.startswith(f"{export}/") or export.startswith(f"{path}/") for export in exports):
                yield entry, io.BytesIO(data)


@pytest.fixture
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stable_read, "A_LATER_SECOND", 0)


def on_mount(*trees: Tree, mounts: dict[str, str]) -> tuple[TwoTrees, Iterator[str]]:
    inner = TwoTrees(*trees)
    reader = paused_reader(inner, container(mounts=mounts), ["/s", "/v"], nothing_ignored, RecordingProgress())
    return inner, (entry.path for entry, _ in reader.entries(["/s", "/v"]))


BOTH = dict(sorted(tree(file("/s/a"), file("/v/b")).items()))


@pytest.mark.usefixtures("_no_wait")
@pytest.mark.parametrize("mount", ["/v", "/v/b"])
@pytest.mark.parametrize("kind", ["volume", "bind"])
def test_what_lies_on_a_mount_is_read_twice_and_no_more(mount: str, kind: str) -> None:
    inner, found = on_mount(BOTH, BOTH, mounts={mount: kind})
    assert list(found) == ["/s", "/s/a", "/v", "/v/b"]
    assert inner.walks == [["/s", "/v"], ["/v"]]
    _, found = on_mount(BOTH, {**BOTH, "/v/b": file("/v/b", b"other")}, mounts={mount: kind})
    with pytest.raises(ModelError, match="/v/b changed while it was read") as caught:
        list(found)
    assert "Stop other writers, which the pause does not stop" in caught.value.hint


@pytest.mark.parametrize("mounts", [{}, {"/s": "tmpfs"}, {"/elsewhere": "volume"}])
def test_without_a_mount_the_pause_is_enough(mounts: dict[str, str]) -> None:
    inner, found = on_mount(BOTH, mounts=mounts)
    assert list(found) == ["/s", "/s/a", "/v", "/v/b"]
    assert len(inner.walks) == 1


class FakeSurveyor(TwoTrees):
    """A reader that sees how large everything is."""

    def survey(self, exports: Sequence[str], ignored: Callable[[str], bool]) -> Generator[Seen]:
        del exports, ignored
        yield Seen("/s", 0o40755, 4096, 0, 0, 1, 0, 0)
        yield Seen("/s/sparse", 0o100644, 1000, 0, 0, 2, 1000, 100)

    def capacity(self) -> int:
        return 999


def sized(reader: Reader, mounts: dict[str, str] | None = None) -> object:
    from fakes import FakeEngine

    engine = FakeEngine(files=tree(file("/s/a", bytes(100_000_000))))
    return estimate(container(mounts=mounts or {}), ["/s"], engine, reader, nothing_ignored, Compression.AUTO)


def test_the_estimate_counts_data_holes_and_entries() -> None:
    reader = FakeSurveyor()
    assert isinstance(reader, Surveyor)
    found = estimate(container(), ["/s"], None, reader, nothing_ignored, Compression.AUTO)  # type: ignore[arg-type]
    assert found
    assert (found.size, found.data, found.entries, found.exact) == (1000, 100, 2, True)
    assert found.seconds == pytest.approx(FIXED_TIME + 100 / DIRECT_RATE + cost_of_holes(900) + 2 * ENTRY_TIME)


def test_a_second_name_of_a_file_is_counted_once(root: Path) -> None:
    (root / "s" / "b").hardlink_to(root / "s" / "a")
    os.truncate(root / "s" / "a", 1 << 20)
    seen = {found.path: found for found in opened(root).survey(["/s"], nothing_ignored)}
    assert (seen["/s/a"].size, seen["/s/b"].size) == (1 << 20, 0)
    assert seen["/s/a"].allocated < 1 << 20
    assert seen["/s/b"].length == 1 << 20


def test_by_the_engines_api_the_estimate_is_rough_and_on_a_mount_there_is_none() -> None:
    found = sized(TwoTrees())
    assert found
    assert not found.exact  # type: ignore[attr-defined]
    assert found.seconds == pytest.approx(FIXED_TIME + 1)  # type: ignore[attr-defined]
    assert sized(TwoTrees(), {"/s/v": "volume"}) is None
