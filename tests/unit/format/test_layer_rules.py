"""What the layers of a bundle may hold together: one line for each rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import directory, file, link
from judging import described, judge

from bundler.format import layer_rules, tar
from bundler.format import metadata as meta
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
    assert judge(layers) == ""


def test_parents_stand_as_the_metadata_has_them() -> None:
    top = directory("/opt/s")[0]
    assert judge([[bare(OPT), top]], exports=("/opt/s",), parents=(PARENT,)) == ""
    for change in ({"mode": 0o777}, {"uid": 1}, {"gid": 1}, {"mtime": 1}, {"nanoseconds": 1}, {"xattrs": (("user.a", b"1"),)}):
        assert "outside" in judge([[replace(bare(OPT), **change), top]], exports=("/opt/s",), parents=(PARENT,))


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ([TOP, FILE, FILE], "a second time"),
        ([TOP, SUB, FILE, SUB], "a second time"),
        ([TOP, FILE, directory("/s/f")[0]], "a second time"),
        ([TOP, FILE, BIG], "out of order"),
        ([TOP, SUB, LINK, FILE], "out of order"),
        ([TOP, BIG], "without the directory"),
        ([FILE], "without the directory"),
        ([TOP, LINK, file("/s/l/x")[0]], "without the directory"),
        ([TOP, FILE, file("/s/f/x")[0]], "without the directory"),
        ([file("/etc")[0], TOP], "outside"),
        ([TOP, file("/t")[0]], "outside"),
        ([directory("/etc")[0], TOP], "outside"),
        ([directory("/etc")[0], file("/etc/passwd")[0], TOP], "outside"),
        ([TOP, file("/s1")[0]], "outside"),
        ([TOP, link("/s/g", Kind.HARD_LINK, "/s/f")[0]], "no file in it"),
        ([TOP, FILE, hard("/s/e", FILE)], "out of order"),
        ([TOP, hard("/s/e", FILE), FILE], "does not come before"),
        ([TOP, link("/s/f", Kind.HARD_LINK, "/etc/shadow")[0]], "does not come before"),
        ([TOP, SUB, hard("/s/e", SUB)], "no file in it"),
        ([TOP, tar.whiteout("/s/f")], "does not list"),
        ([TOP, file("/s/f", mode=0o4755)[0]], "does not list"),
        ([TOP, file("/s/f", mode=0o2755)[0]], "does not list"),
        ([TOP, file("/s/f", capability=b"1")[0]], "does not list"),
        ([TOP, FILE, replace(hard("/s/g", FILE), mode=0o4755)], "does not list"),
    ],
)
def test_what_no_walk_gives_is_refused(entries: list[Entry], fault: str) -> None:
    assert fault in judge([entries])


@pytest.mark.parametrize(
    ("layers", "fault"),
    [
        ([[bare(TOP), FILE], [TOP, FILE]], "otherwise"),
        ([[bare(TOP), FILE], [TOP, directory("/s/f")[0]]], "otherwise"),
        ([[bare(TOP), bare(SUB), BIG], [TOP, link("/s/d", Kind.SYMLINK, "/etc")[0]]], "otherwise"),
        ([[bare(TOP), bare(SUB), BIG], [TOP, file("/s/d")[0]]], "otherwise"),
        ([[bare(TOP), bare(SUB), BIG], [TOP, directory("/s/d", mode=0o777)[0]]], "otherwise"),
        ([[bare(TOP), bare(SUB), BIG], [TOP, FILE]], "does not hold a directory"),
        ([[bare(TOP), FILE], [bare(TOP), FILE], [TOP]], "otherwise"),
        ([[TOP, FILE], [TOP]], "only the last layer"),
        ([[bare(TOP), LINK], [TOP]], "only the last layer"),
        ([[bare(TOP)], [TOP]], "every layer but the last has one"),
        ([[bare(TOP), file("/s/e")[0], FILE], [TOP]], "every layer but the last has one"),
        ([[bare(TOP), FILE, tar.whiteout("/s/g")], [TOP]], "does not list"),
    ],
)
def test_layers_that_disagree_are_refused(layers: list[list[Entry]], fault: str) -> None:
    assert fault in judge(layers)


def test_whiteouts_are_those_of_the_metadata_in_its_order() -> None:
    gone = ("/s/a", "/s/d/x", "/s/z")
    whiteouts = [tar.whiteout(path) for path in gone]
    assert judge([[TOP, SUB, FILE, *whiteouts]], removed=gone) == ""
    for wrong in ([], whiteouts[:2], whiteouts[::-1], [*whiteouts, tar.whiteout("/s/zz")]):
        assert judge([[TOP, SUB, FILE, *wrong]], removed=gone)
    assert "after the whiteouts" in judge([[TOP, SUB, *whiteouts, FILE]], removed=gone)


def test_an_export_of_which_nothing_was_left_is_removed_below_its_directories() -> None:
    """A FIFO in place of a file of the base; found by the tests of random states."""
    opt, mnt = replace(bare(OPT), path="/opt"), replace(bare(OPT), path="/mnt")
    parents = (PARENT, PARENT.model_copy(update={"path": "/mnt"}))
    exports, gone = ("/mnt/gone", "/opt/s"), ("/mnt/gone",)
    kept = [opt, directory("/opt/s")[0]]
    told = described([kept], exports, parents=parents, removed=gone)
    lost = told.exports[0].model_copy(update={"kind": ""})
    told = told.model_copy(update={"exports": (lost, told.exports[1])})
    assert judge([[*kept, mnt, tar.whiteout("/mnt/gone")]], told) == ""
    assert "without the directory" in judge([[*kept, tar.whiteout("/mnt/gone")]], told)
    assert "after the whiteouts" in judge([[*kept, mnt, file("/opt/s/f")[0]]], told)
    for wrong in ([*kept, mnt, mnt], [*kept, replace(mnt, mode=0o777)], [mnt, *kept, mnt]):
        assert "a second time, or not" in judge([[*wrong, tar.whiteout("/mnt/gone")]], told)
    assert "second time or out of order" in judge([[*kept, opt, mnt, tar.whiteout("/mnt/gone")]], told)


@pytest.mark.parametrize("gone", ["/s/f", "/s/d", "/s/nowhere/x", "/s/f/x"])
def test_what_is_there_cannot_be_removed(gone: str) -> None:
    assert judge([[TOP, SUB, BIG, FILE, tar.whiteout(gone)]], removed=(gone,))


def test_what_another_layer_has_cannot_be_removed() -> None:
    assert "should lack" in judge([[bare(TOP), FILE], [TOP, tar.whiteout("/s/f")]], removed=("/s/f",))


def test_a_link_has_the_rights_of_its_file() -> None:
    setuid = file("/s/f", mode=0o4755, uid=1000)[0]
    assert judge([[TOP, setuid, hard("/s/g", setuid)]], privileged=("/s/f",)) == ""
    for change in ({"uid": 0}, {"mode": 0o755}, {"capability": b"1"}):
        assert "may do" in judge([[TOP, setuid, replace(hard("/s/g", setuid), **change)]], privileged=("/s/f",))
    assert "does not list" in judge([[TOP, FILE, replace(hard("/s/g", FILE), mode=0o4755)]], privileged=("/s/f",))
    assert "privileged file" in judge([[TOP, FILE]], privileged=("/s/f",))


@pytest.mark.parametrize("change", [{"entries": 3}, {"size": 5}, {"kind": "file"}])
def test_the_totals_of_the_metadata_are_true(change: dict[str, object]) -> None:
    sound = described([[TOP, FILE]])
    (export,) = sound.exports
    assert judge([[TOP, FILE]], sound) == ""
    assert "not what the metadata says" in judge(
        [[TOP, FILE]], sound.model_copy(update={"exports": (export.model_copy(update=change),)})
    )


def test_an_export_must_be_there() -> None:
    assert "missing entry" in judge([[TOP, FILE]], exports=("/s", "/t"))


def test_a_layer_holds_the_exports_that_it_says() -> None:
    sound = described([[TOP, FILE]])
    (layer,) = sound.layers
    assert "other exports" in judge([[TOP, FILE]], sound.model_copy(update={"layers": (layer.model_copy(update={"exports": ()}),)}))


def test_nested_exports_are_counted_as_the_outer_one() -> None:
    layers = [[TOP, SUB, BIG]]
    outer = described(layers).exports[0]
    inner = outer.model_copy(update={"path": "/s/d", "resolved": "/s/d"})
    assert judge(layers, described(layers).model_copy(update={"exports": (outer, inner)})) == ""


def test_more_entries_than_fit_into_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_rules, "MAX_ENTRIES", 2)
    assert judge([[TOP, FILE]]) == ""
    assert "one more" in judge([[TOP, FILE, LINK]])
