from __future__ import annotations

import pytest
from hypothesis import given
from strategies import container_paths

from bundler.errors import IntegrityError, ModelError
from bundler.format import paths


@given(container_paths)
def test_any_path_fits_into_json_and_comes_back(path: str) -> None:
    text = paths.encode(path)
    assert text.isascii()
    assert text.isprintable()
    assert paths.decode(text) == path


@pytest.mark.parametrize("text", ["/%2f", "/%41", "/%zz", "/\n", "/é", "/%"])
def test_a_second_spelling_of_a_path_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError):
        paths.decode(text)


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("opt/model", "not absolute"),
        ("", "not absolute"),
        ("/", "the root"),
        ("/opt//model", "not a clean path"),
        ("/opt/./x", "not a clean path"),
        ("/opt/../x", "not a clean path"),
        ("/opt/x\0", "not a clean path"),
        ("/proc", "lies in /proc"),
        ("/sys/fs", "lies in /sys"),
        ("/dev/shm", "lies in /dev"),
        ("/" + "x" * 5000, "longer than"),
    ],
)
def test_paths_that_cannot_be_exported(path: str, fault: str) -> None:
    with pytest.raises(ModelError, match=fault):
        paths.check_exports(["/fine", path])


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ModelError, match=r"'a'.*'b'"):
        paths.check_exports(["a", "/fine", "b"])


def test_no_paths_at_all_are_an_error() -> None:
    with pytest.raises(ModelError, match="named no paths"):
        paths.check_exports([])


def test_a_slash_at_the_end_means_the_same_directory() -> None:
    assert paths.check_exports(["/opt/model/", "/developer"]) == ["/opt/model", "/developer"]


LINKS = {"/a": "/b", "/b/c": "../d/e", "/loop": "loop/x", "/up": "../../..", "/last": "/elsewhere"}


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("/a/x", "/b/x"),
        ("/a/c/x", "/d/e/x"),
        ("/b/c", "/b/c"),
        ("/up/x", "/x"),
        ("/last", "/last"),
        ("/last/x", "/elsewhere/x"),
    ],
)
def test_links_among_the_parents_are_followed(path: str, resolved: str) -> None:
    assert paths.resolve(path, LINKS.get) == resolved


def test_a_loop_of_links_is_an_error() -> None:
    with pytest.raises(ModelError, match="loop"):
        paths.resolve("/loop/x", LINKS.get)


def test_only_the_topmost_paths_are_left_in_walking_order() -> None:
    assert paths.merge(["/b", "/a/b/c", "/a", "/a-b", "/b", "/a/b"]) == ["/a", "/a-b", "/b"]


def test_walking_order_is_not_that_of_whole_strings() -> None:
    assert sorted(["/a-b", "/a/b", "/a"], key=paths.sort_key) == ["/a", "/a/b", "/a-b"]


def test_a_sibling_with_the_same_beginning_is_not_inside() -> None:
    assert not paths.is_within("/opt/models", "/opt/model")
    assert paths.is_within("/opt/model/x", "/opt/model")


def test_ancestors_come_outermost_first() -> None:
    assert paths.ancestors("/a/b/c") == ["/a", "/a/b"]
    assert paths.ancestors("/a") == []
