"""What a model, a registry or a layout cannot make us do."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
from bundles import bundle
from fakes import FakeEngine, MemoryStore, RecordingProgress, container, directory, file, image, tree

from bundler.cli import wiring
from bundler.engines.archive_reader import ArchiveReader
from bundler.engines.export_reader import ExportReader
from bundler.errors import EngineError, IntegrityError, ModelError, PrivilegeError
from bundler.format import layer_rules, paths, reference, tar
from bundler.format.tar import Entry, Kind
from bundler.ports import Reader
from bundler.stores.layout.store import LayoutStore
from bundler.stores.registry import store
from bundler.verbs import copy, privileges
from bundler.verbs.container_copy import Copier
from hostile.registries import Registry, repositories


def test_a_model_exports_no_more_paths_than_anybody_reads() -> None:
    assert len(paths.check_exports(f"/s/{number}" for number in range(100_000))) == 100_000
    with pytest.raises(ModelError, match="more than 100000"):
        paths.check_exports(f"/s/{number}" for number in range(100_001))


def test_a_path_of_a_megabyte_is_refused_and_shown_in_part() -> None:
    with pytest.raises(ModelError, match="longer than") as caught:
        paths.check_exports(["/" + "x" * (1 << 20)])
    assert len(caught.value.message) < 1000


def test_a_model_that_asks_for_ever_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MAX_PATHS", 3)
    engine = FakeEngine(files=tree(file("/s/a")), new_files=tree(directory("/new")))
    copier = Copier(container(), container(id="n" * 64, name="fps-bundle-new"), engine, RecordingProgress())
    long = "/" + "x" * (1 << 20)
    for _ in range(3):
        assert copier.copy(long, long)
    assert max(len(done.source) for done in copier.done) <= paths.MAX_LENGTH
    with pytest.raises(ModelError, match="more than 3 copies"):
        copier.copy("/s/a", "/new/a")


@pytest.mark.parametrize("reader", [ArchiveReader, partial(ExportReader, mounts=())])
def test_an_archive_of_an_engine_has_no_more_entries_than_a_bundle(
    reader: Callable[..., Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_rules, "MAX_ENTRIES", 2)
    files = [tar.encode(Entry(path, Kind.DIRECTORY, 0o755, 0, 0, 0)) for path in ("/s", "/s/a", "/s/b")]
    for count, refused in ((2, False), (3, True)):
        archive = b"".join(files[:count]) + tar.TRAILER
        found = reader(lambda _: None, lambda _, data=archive: nullcontext(io.BytesIO(data))).entries(["/s"])
        with pytest.raises(EngineError, match="more than 2 entries") if refused else nullcontext():
            assert len(list(found)) == 2


@pytest.mark.parametrize("tags", [["../../../../x"], [7], ["a b"], "1", {"1": 1}, ["x" * 129], ["1\n"]])
def test_a_registry_lists_tags_and_nothing_else(tags: object) -> None:
    with pytest.raises(IntegrityError, match="lists an invalid tag"):
        names(json.dumps({"tags": tags}).encode())


def test_a_list_of_tags_that_goes_on_for_ever_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_LISTED", 10)
    with pytest.raises(IntegrityError, match="more than 10 tags"):
        names(json.dumps({"tags": [str(number) for number in range(11)]}).encode())


def names(answer: bytes, **headers: str) -> None:
    address, found = repositories()
    found["tags"] = Listing(answer, headers)
    with wiring.opened(reference.parse(f"{address}/tags:1"), wiring.Link()) as store:
        store.names()


class Listing(Registry):
    """A repository with this list of tags."""

    def __init__(self, content: bytes, headers: dict[str, str]) -> None:
        super().__init__()
        self._answer = 200, headers, content

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        return self._answer if path == "tags/list" else super().answer(path)


@pytest.mark.parametrize("linked", ["blobs", "blobs/sha256"])
def test_a_layout_whose_directories_lead_elsewhere_is_not_written_to(linked: str, tmp_path: Path) -> None:
    elsewhere, layout = tmp_path / "elsewhere", tmp_path / "layout"
    elsewhere.mkdir()
    (layout / linked).parent.mkdir(parents=True)
    (layout / linked).symlink_to(elsewhere)
    (layout / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')
    source = MemoryStore()
    bundle(source)
    with pytest.raises(IntegrityError, match="symbolic link"):
        copy.copy(source, LayoutStore(layout, "1"), RecordingProgress())
    assert list(elsewhere.iterdir()) == []


SETUID = file("/s/f", mode=0o4755, uid=0)[0]


def check(found: list[Entry], *base: tuple[Entry, bytes], allowed: bool = False) -> RecordingProgress:
    progress = RecordingProgress()
    engine = FakeEngine(base_files=tree(*base))
    privileges.check(found, partial(privileges.files_on_engine, image(), engine), progress, allowed=allowed)
    return progress


def test_rights_that_the_base_has_need_no_word() -> None:
    assert check([SETUID], (SETUID, b"data")).warnings == []
    assert check([]).warnings == []


@pytest.mark.parametrize(
    "base",
    [
        file("/s/other"),
        file("/s/f", mode=0o755, uid=0),
        file("/s/f", mode=0o4755, uid=7),
        file("/s/f", mode=0o4755, uid=0, capability=b"1"),
        directory("/s/f", mode=0o4755),
    ],
)
def test_rights_that_the_base_does_not_have_need_somebody_who_answers(base: tuple[Entry, bytes]) -> None:
    with pytest.raises(PrivilegeError, match="brings 1 file with more rights than the base's") as caught:
        check([SETUID], base)
    assert "--allow-privileged" in caught.value.hint
    assert check([SETUID], base, allowed=True).warnings == [
        "/s/f runs with the rights of user 0, which the base does not have there"
    ]


def test_a_long_list_is_cut() -> None:
    many = [file(f"/s/{number:04}", mode=0o2755)[0] for number in range(100)]
    assert check(many, allowed=True).warnings[-1] == "and 80 more such files"
