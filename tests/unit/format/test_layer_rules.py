"""What the layers of a bundle may hold together: one line for each rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import directory, file, link
from judging import described, judge

from bundler.format import layer_rules, tar
from bundler.format import metadata as meta
from bundler.format.faults import FaultCode
from bundler.format.tar import Entry, Kind

TOP = directory("/s")[0]
SUB = directory("/s/d")[0]
FILE = file("/s/f")[0]
BIG = file("/s/d/big")[0]
LINK = link("/s/l", Kind.SYMLINK, "/elsewhere")[0]
OPT = directory("/opt")[0]
PARENT = meta.Parent(path="/opt", mode=0o755, uid=0, gid=0)


def hard(path: str, target: Entry) -> Entry:
    return replace(target, path=path, kind=Kind.HARD_LINK, size=0, target=target.path)


def bare(entry: Entry) -> Entry:
    return replace(entry, mtime=0)


SOUND = [
    [[TOP, SUB, BIG, FILE, LINK]],
    [[TOP, FILE, hard("/s/g", FILE)]],
    [[TOP, LINK, hard("/s/m", LINK)]],
    [[bare(TOP), bare(SUB), BIG], [TOP, SUB, FILE]],
    [[bare(TOP), bare(SUB), BIG, hard("/s/z", BIG)], [TOP, SUB, FILE]],
    [[bare(TOP), bare(SUB), BIG], [bare(TOP), file("/s/e")[0]], [TOP, SUB, FILE]],
    [[TOP]],
]


@pytest.mark.parametrize("layers", SOUND)
def test_what_a_capture_gives_is_taken(layers: list[list[Entry]]) -> None:
    assert judge(layers) is None


def test_parents_stand_as_the_metadata_has_them() -> None:
    top = directory("/opt/s")[0]
    assert judge([[bare(OPT), top]], exports=("/opt/s",), parents=(PARENT,)) is None
    for change in ({"mode": 0o777}, {"uid": 1}, {"gid": 1}, {"mtime": 1}, {"nanoseconds": 1}, {"xattrs": (("user.a", b"1"),)}):
        assert judge([[replace(bare(OPT), **change), top]], exports=("/opt/s",), parents=(PARENT,)) is FaultCode.OUTSIDE


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ([TOP, FILE, FILE], FaultCode.ORDER),
        ([TOP, SUB, FILE, SUB], FaultCode.ORDER),
        ([TOP, FILE, directory("/s/f")[0]], FaultCode.ORDER),
        ([TOP, FILE, BIG], FaultCode.ORDER),
        ([TOP, SUB, LINK, FILE], FaultCode.ORDER),
        ([TOP, BIG], FaultCode.NO_DIRECTORY),
        ([FILE], FaultCode.NO_DIRECTORY),
        ([TOP, LINK, file("/s/l/x")[0]], FaultCode.NO_DIRECTORY),
        ([TOP, FILE, file("/s/f/x")[0]], FaultCode.NO_DIRECTORY),
        ([file("/etc")[0], TOP], FaultCode.OUTSIDE),
        ([TOP, file("/t")[0]], FaultCode.OUTSIDE),
        ([directory("/etc")[0], TOP], FaultCode.OUTSIDE),
        ([directory("/etc")[0], file("/etc/passwd")[0], TOP], FaultCode.OUTSIDE),
        ([TOP, file("/s1")[0]], FaultCode.OUTSIDE),
        ([TOP, link("/s/g", Kind.HARD_LINK, "/s/f")[0]], FaultCode.LINK_TO_NO_FILE),
        ([TOP, FILE, hard("/s/e", FILE)], FaultCode.ORDER),
        ([TOP, hard("/s/e", FILE), FILE], FaultCode.LINK_TARGET),
        ([TOP, link("/s/f", Kind.HARD_LINK, "/etc/shadow")[0]], FaultCode.LINK_TARGET),
        ([TOP, SUB, hard("/s/e", SUB)], FaultCode.LINK_TO_NO_FILE),
        ([TOP, tar.whiteout("/s/f")], FaultCode.UNLISTED_WHITEOUT),
        ([TOP, file("/s/f", mode=0o4755)[0]], FaultCode.UNLISTED_PRIVILEGED),
        ([TOP, file("/s/f", mode=0o2755)[0]], FaultCode.UNLISTED_PRIVILEGED),
        ([TOP, file("/s/f", capability=b"1")[0]], FaultCode.UNLISTED_PRIVILEGED),
        ([TOP, FILE, replace(hard("/s/g", FILE), mode=0o4755)], FaultCode.UNLISTED_PRIVILEGED),
    ],
)
def test_what_no_walk_gives_is_refused(entries: list[Entry], fault: FaultCode) -> None:
    assert judge([entries]) is fault


@pytest.mark.parametrize(
    ("layers", "fault"),
    [
        ([[bare(TOP), FILE], [TOP, FILE]], FaultCode.OTHER_LAYER),
        ([[bare(TOP), FILE], [TOP, directory("/s/f")[0]]], FaultCode.OTHER_LAYER),
        ([[bare(TOP), bare(SUB), BIG], [TOP, link("/s/d", Kind.SYMLINK, "/etc")[0]]], FaultCode.OTHER_LAYER),
        ([[bare(TOP), bare(SUB), BIG], [TOP, file("/s/d")[0]]], FaultCode.OTHER_LAYER),
        ([[bare(TOP), bare(SUB), BIG], [TOP, directory("/s/d", mode=0o777)[0]]], FaultCode.OTHER_LAYER),
        ([[bare(TOP), bare(SUB), BIG], [TOP, FILE]], FaultCode.MISSING_DIRECTORY),
        ([[bare(TOP), FILE], [bare(TOP), FILE], [TOP]], FaultCode.OTHER_LAYER),
        ([[TOP, FILE], [TOP]], FaultCode.DATED_DIRECTORY),
        ([[bare(TOP), LINK], [TOP]], FaultCode.EARLY_SYMLINK),
        ([[bare(TOP)], [TOP]], FaultCode.FILE_COUNT),
        ([[bare(TOP), file("/s/e")[0], FILE], [TOP]], FaultCode.FILE_COUNT),
        ([[bare(TOP), FILE, tar.whiteout("/s/g")], [TOP]], FaultCode.UNLISTED_WHITEOUT),
    ],
)
def test_layers_that_disagree_are_refused(layers: list[list[Entry]], fault: FaultCode) -> None:
    assert judge(layers) is fault


def test_whiteouts_are_those_of_the_metadata_in_its_order() -> None:
    gone = ("/s/a", "/s/d/x", "/s/z")
    whiteouts = [tar.whiteout(path) for path in gone]
    assert judge([[TOP, SUB, FILE, *whiteouts]], removed=gone) is None
    for wrong in ([], whiteouts[:2], whiteouts[::-1], [*whiteouts, tar.whiteout("/s/zz")]):
        assert judge([[TOP, SUB, FILE, *wrong]], removed=gone)
    assert judge([[TOP, SUB, *whiteouts, FILE]], removed=gone) is FaultCode.AFTER_WHITEOUTS


def test_an_export_of_which_nothing_was_left_is_removed_below_its_directories() -> None:
    """A FIFO in place of a file of the base; found by the tests of random states."""
    opt, mnt = replace(bare(OPT), path="/opt"), replace(bare(OPT), path="/mnt")
    parents = (PARENT, PARENT.model_copy(update={"path": "/mnt"}))
    exports, gone = ("/mnt/gone", "/opt/s"), ("/mnt/gone",)
    kept = [opt, directory("/opt/s")[0]]
    told = described([kept], exports, parents=parents, removed=gone)
    lost = told.exports[0].model_copy(update={"kind": ""})
    told = told.model_copy(update={"exports": (lost, told.exports[1])})
    assert judge([[*kept, mnt, tar.whiteout("/mnt/gone")]], told) is None
    assert judge([[*kept, tar.whiteout("/mnt/gone")]], told) is FaultCode.NO_DIRECTORY
    assert judge([[*kept, mnt, file("/opt/s/f")[0]]], told) is FaultCode.AFTER_WHITEOUTS
    for wrong in ([*kept, mnt, mnt], [*kept, replace(mnt, mode=0o777)], [mnt, *kept, mnt]):
        assert judge([[*wrong, tar.whiteout("/mnt/gone")]], told) is FaultCode.WHITEOUT_PARENT
    assert judge([[*kept, opt, mnt, tar.whiteout("/mnt/gone")]], told) is FaultCode.ORDER


@pytest.mark.parametrize("gone", ["/s/f", "/s/d", "/s/nowhere/x", "/s/f/x"])
def test_what_is_there_cannot_be_removed(gone: str) -> None:
    assert judge([[TOP, SUB, BIG, FILE, tar.whiteout(gone)]], removed=(gone,))


def test_what_another_layer_has_cannot_be_removed() -> None:
    assert judge([[bare(TOP), FILE], [TOP, tar.whiteout("/s/f")]], removed=("/s/f",)) is FaultCode.NOT_REMOVED


def test_a_link_has_the_rights_of_its_file() -> None:
    setuid = file("/s/f", mode=0o4755, uid=1000)[0]
    assert judge([[TOP, setuid, hard("/s/g", setuid)]], privileged=("/s/f",)) is None
    for change in ({"uid": 0}, {"mode": 0o755}, {"capability": b"1"}):
        assert judge([[TOP, setuid, replace(hard("/s/g", setuid), **change)]], privileged=("/s/f",)) is FaultCode.LINK_RIGHTS
    assert judge([[TOP, FILE, replace(hard("/s/g", FILE), mode=0o4755)]], privileged=("/s/f",)) is FaultCode.UNLISTED_PRIVILEGED
    assert judge([[TOP, FILE]], privileged=("/s/f",)) is FaultCode.MISSING_PRIVILEGED


@pytest.mark.parametrize("change", [{"entries": 3}, {"size": 5}, {"kind": "file"}])
def test_the_totals_of_the_metadata_are_true(change: dict[str, object]) -> None:
    sound = described([[TOP, FILE]])
    (export,) = sound.exports
    assert judge([[TOP, FILE]], sound) is None
    assert judge([[TOP, FILE]], sound.model_copy(update={"exports": (export.model_copy(update=change),)})) is FaultCode.TOTALS


def test_an_export_must_be_there() -> None:
    assert judge([[TOP, FILE]], exports=("/s", "/t")) is FaultCode.TOTALS


def test_a_layer_holds_the_exports_that_it_says() -> None:
    sound = described([[TOP, FILE]])
    (layer,) = sound.layers
    assert (
        judge([[TOP, FILE]], sound.model_copy(update={"layers": (layer.model_copy(update={"exports": ()}),)})) is FaultCode.EXPORTS
    )


def test_nested_exports_are_counted_as_the_outer_one() -> None:
    layers = [[TOP, SUB, BIG]]
    outer = described(layers).exports[0]
    inner = outer.model_copy(update={"path": "/s/d", "resolved": "/s/d"})
    assert judge(layers, described(layers).model_copy(update={"exports": (outer, inner)})) is None


def test_more_entries_than_fit_into_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_rules, "MAX_ENTRIES", 2)
    assert judge([[TOP, FILE]]) is None
    assert judge([[TOP, FILE, LINK]]) is FaultCode.ENTRY_LIMIT
