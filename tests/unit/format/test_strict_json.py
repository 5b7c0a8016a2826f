from __future__ import annotations

import pytest

from bundler.errors import IntegrityError
from bundler.format import strict_json


def test_an_object_is_read() -> None:
    assert strict_json.load(b'{"a": [1, {"b": null}], "c": "\xc3\xa9"}', "it") == {"a": [1, {"b": None}], "c": "é"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{} {}",
        b'{"a": 1,}',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": "\xff"}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": -1e999}',
        b'{"a": 1' + b"0" * 5000 + b"}",
    ],
)
def test_what_parsers_could_disagree_about_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"^it "):
        strict_json.load(data, "it")


@pytest.mark.parametrize("data", [b'{"a": 1, "a": 1}', b'{"x": {"a": 1, "a": 2}}', b'{"x": [{"a": 1, "\\u0061": 2}]}'])
def test_the_same_key_twice_is_refused_at_any_depth(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="same key twice"):
        strict_json.load(data, "it")


@pytest.mark.parametrize("twin", ["Layers", "LAYERS", "layer\u017f"])
@pytest.mark.parametrize("around", ["{}", '{{"x": {}}}', '{{"x": [1, {}]}}', '{{"Labels": {{"x": {}}}}}'])
def test_twins_by_letter_case_are_refused_at_any_depth(twin: str, around: str) -> None:
    with pytest.raises(IntegrityError, match="letter case"):
        strict_json.load(around.format(f'{{"layers": [], "{twin}": []}}').encode(), "it")


@pytest.mark.parametrize("data", [b'{"a": "\\ud800"}', b'{"\\udfff": 1}', b'{"a": [["\\ud83d x"]]}'])
def test_half_a_surrogate_pair_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="surrogates"):
        strict_json.load(data, "it")


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert strict_json.load(b'{"a": "\\ud83d\\ude00"}', "it") == {"a": "\U0001f600"}


@pytest.mark.parametrize("data", [b'{"a": [' + b"0," * 500_000 + b"0]}", b'{"a": [' + b"{}," * 500_000 + b"{}]}"])
def test_more_values_than_can_be_checked_in_time_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="more than"):
        strict_json.load(data, "it")


def test_labels_may_differ_by_letter_case() -> None:
    assert strict_json.load(b'{"Labels": {"a": "1", "A": "2"}}', "it")["Labels"] == {"a": "1", "A": "2"}


@pytest.mark.parametrize("depth", [150, 300, 900, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_refused(depth: int, opening: bytes, closing: bytes) -> None:
    with pytest.raises(IntegrityError, match="deep"):
        strict_json.load(b'{"x":' + opening * depth + b"1" + closing * depth + b"}", "it")


def test_moderate_nesting_is_read() -> None:
    assert strict_json.load(b'{"x":' + b"[" * 50 + b"]" * 50 + b"}", "it")


def test_what_is_too_long_is_refused_and_the_longest_is_read() -> None:
    longest = b'{"a": 1' + b" " * (strict_json.MAX_SIZE - 8) + b"}"
    assert strict_json.load(longest, "it") == {"a": 1}
    with pytest.raises(IntegrityError, match="longer than"):
        strict_json.load(longest + b" ", "it")


@pytest.mark.parametrize("key", ["Layers", "LAYERS", "layer\u017f"])
def test_a_key_that_some_parsers_take_for_a_known_one_is_refused(key: str) -> None:
    with pytest.raises(IntegrityError, match="only some parsers understand"):
        strict_json.check_spelling({"layers": [], key: []}, {"layers", "config"}, "it")


def test_known_keys_and_unlike_ones_are_spelled_right() -> None:
    strict_json.check_spelling({"layers": [], "other": 1}, {"layers", "config"}, "it")


@pytest.mark.parametrize(("count", "refused"), [(strict_json.MAX_VALUES, False), (strict_json.MAX_VALUES + 1, True)])
def test_the_number_of_values_has_an_exact_limit(count: int, refused: bool) -> None:
    content = {"a": [0] * (count - 1)}  # the list is a value, too
    if refused:
        with pytest.raises(ValueError, match="more than"):
            strict_json.check(content)
    else:
        strict_json.check(content)
