"""What engines would change without an error is refused by push, and by the apply of a bundle that has it."""

from __future__ import annotations

from pathlib import Path

import applied
import pytest
from bundles import bundle
from fakes import FakeEngine, MemoryStore, RecordingProgress, ScriptedModel, file, image, link, tree

from bundler.bundle import read_bundle
from bundler.errors import EngineError, ModelError
from bundler.format import entry_rules, paths
from bundler.format.reference import LocalReference
from bundler.format.tar import Entry, Kind, whiteout
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import push as pushing
from bundler.verbs import verify

LATEST = 9_223_372_036
LONGEST = "/s" + "/d" * 1918 + "/"
DEEP = LONGEST + "f" * (paths.MAX_PORTABLE - len(LONGEST))


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (file("/s/f", mtime=0)[0], ""),
        (file("/s/f", mtime=-1)[0], "before 1970"),
        (file("/s/f", mtime=LATEST)[0], ""),
        (file("/s/f", mtime=LATEST + 1)[0], "after 2262"),
        (link("/s/f", Kind.HARD_LINK, "/s/a")[0], ""),
        (file(DEEP)[0], ""),
        (file(DEEP + "f")[0], "3839 bytes"),
        (file(DEEP[:-1] + "\udcff")[0], ""),
        (file(DEEP[:-1] + "é")[0], "3839 bytes"),
        (whiteout(DEEP), ""),
        (whiteout(DEEP + "f"), "3839 bytes"),
    ],
)
def test_the_limits_of_what_engines_keep(entry: Entry, why: str) -> None:
    found = entry_rules.unkept(entry)
    assert bool(found) is bool(why)
    assert why in found


def test_a_directory_that_is_no_longer_than_the_limit_can_be_listed_to_its_last_name() -> None:
    assert paths.MAX_PORTABLE + len("/") + paths.MAX_NAME <= paths.MAX_LENGTH


@pytest.mark.parametrize("bad", [file("/s/old", mtime=-1), file("/s/" + "d/" * 2000 + "f")])
def test_a_push_names_what_no_engine_would_keep(bad: tuple[Entry, bytes]) -> None:
    engine = FakeEngine(files=tree(file("/s/f"), bad))
    with pytest.raises(ModelError, match=r"/s/old|/s/d/d/d"):
        pushing.push(
            engine.one, engine, ScriptedModel("/s"), LocalSpool(), LocalReference("m", "1"), RecordingProgress(), pushing.Options()
        )
    assert not engine.is_paused


@pytest.mark.parametrize("rereadable", [True, False])
def test_an_apply_names_what_its_engine_would_not_keep_before_it_loads_anything(rereadable: bool) -> None:
    source, engine, spool = MemoryStore(), FakeEngine(), LocalSpool()
    source.rereadable = rereadable
    bundle(source, tree(file("/s/f", mtime=-1), file("/s/g", mtime=-2)))
    found = read_bundle(source)
    verify.verify(found, source, RecordingProgress())  # it is sound, and can be copied
    for _ in range(2):  # what was verified once is not forgotten
        with pytest.raises(EngineError, match=r"2 entries.*/s/f"):
            applied.apply(found, source, image(), "copy:1", engine, spool, RecordingProgress(), dry_run=False)
    assert engine.loads == []
