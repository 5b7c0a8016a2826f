from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.format import paths
from bundler.format.tar import STATE_KINDS, Entry, Kind
from bundler.format.whiteouts import Listed, Removals

D, F, P = Kind.DIRECTORY, Kind.FILE, Kind.FIFO
Tree = dict[str, Kind]
NAMES = ("a", "b", "-", "ab", "a.b", "a-", "a.", "b\udcff")
"""Some begin with others, as a model and its backup do."""


def removed(base: Tree, capture: Tree) -> list[str]:
    ordered = sorted(base, key=paths.sort_key)
    removals = Removals(Listed(path, base[path]) for path in ordered)
    for path in sorted(capture, key=paths.sort_key):
        removals.saw(Entry(path, capture[path], 0, 0, 0, 0))
    return removals.finish()


@pytest.mark.parametrize(
    ("base", "capture", "expected"),
    [
        ({"/a": D, "/a/x": F}, {"/a": D, "/a/x": F}, []),
        ({"/a": D, "/a/x": F}, {"/a": D}, ["/a/x"]),
        ({"/a": D, "/a/d": D, "/a/d/x": F, "/a/d/y": F}, {"/a": D}, ["/a/d"]),
        ({"/a": D, "/a/d": D, "/a/d/x": F}, {"/a": D, "/a/d": F}, []),
        ({"/a": D, "/a/d": F}, {"/a": D, "/a/d": D, "/a/d/x": F}, []),
        ({"/a": D, "/a/p": P}, {"/a": D, "/a/p": P}, []),
        ({"/a": D, "/a/p": F}, {"/a": D, "/a/p": P}, ["/a/p"]),
        ({"/a": D, "/a/d": D, "/a/d/x": F}, {"/a": D, "/a/d": P}, ["/a/d"]),
        ({"/a": D, "/a/d": D, "/a/d-x": F, "/a/d/x": F}, {"/a": D, "/a/d-x": F}, ["/a/d"]),
        ({}, {"/a": D}, []),
        ({"/a": D, "/a/model": F, "/a/model.bak": F}, {"/a": D, "/a/model": F}, ["/a/model.bak"]),
        ({"/a": D, "/a/model": F, "/a/model.bak": F}, {"/a": D}, ["/a/model", "/a/model.bak"]),
        ({"/a": D, "/a/m": D, "/a/m/x": F, "/a/m.d": D, "/a/m.d/x": F}, {"/a": D}, ["/a/m", "/a/m.d"]),
        ({"/a": D, "/a/m": D, "/a/m/x": F, "/a/m.d": D, "/a/m.d/x": F}, {"/a": D, "/a/m": F}, ["/a/m.d"]),
        ({"/a": D, "/a/m": D, "/a/m/x": F}, {"/a": D, "/a/m": D, "/a/n": F}, ["/a/m/x"]),
        ({"/a": F, "/b": D, "/b/x": F}, {"/a": F, "/b": D}, ["/b/x"]),
    ],
)
def test_what_is_gone(base: Tree, capture: Tree, expected: list[str]) -> None:
    assert removed(base, capture) == expected


@pytest.mark.parametrize(("base", "expected"), [(F, ["/a/q"]), (P, [])])
def test_a_hard_link_to_a_fifo_is_a_fifo(base: Kind, expected: list[str]) -> None:
    """Found by `make soak`."""
    removals = Removals([Listed("/a/q", base)])
    removals.saw(Entry("/a/p", P, 0, 0, 0, 0))
    removals.saw(Entry("/a/q", Kind.HARD_LINK, 0, 0, 0, 0, target="/a/p"))
    assert removals.finish() == expected


def grow(parts: list[tuple[str, ...]], kinds: list[Kind]) -> Tree:
    tree: Tree = {"/t": D}
    for part, kind in zip(parts, kinds, strict=False):
        path = "/t/" + "/".join(part)
        if all(tree.get(above, D) is D for above in paths.ancestors(path)) and path not in tree:
            tree |= dict.fromkeys(paths.ancestors(path), D)
            tree[path] = kind
    return tree


trees = st.builds(
    grow,
    st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple), max_size=8),
    st.lists(st.sampled_from([D, F, P]), min_size=8, max_size=8),
)


@given(trees, trees)
def test_base_and_whiteouts_and_capture_give_the_capture(base: Tree, capture: Tree) -> None:
    state = {path: kind for path, kind in capture.items() if kind in STATE_KINDS}
    gone = removed(base, capture)
    result = {path: kind for path, kind in base.items() if not any(paths.is_within(path, top) for top in gone)}
    for path, kind in state.items():
        if kind is not D:
            result = {other: found for other, found in result.items() if not paths.is_within(other, path)}
        result[path] = kind
    expected = {**state, **{path: kind for path, kind in capture.items() if kind is P and base.get(path) is P}}
    assert result == expected
