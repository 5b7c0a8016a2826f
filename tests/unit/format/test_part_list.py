"""The list of parts, which anybody may have written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bundler.errors import IntegrityError, UsageError
from bundler.format.content import Digest
from bundler.format.part_list import MAX_PARTS, MIN_PART, PartList, check_part_size

LISTED = PartList.of(Digest.of(b"bundle"), "x.tar", 250, 100, [Digest.of(bytes([number])) for number in range(3)])


def content(**changes: Any) -> dict[str, Any]:
    return json.loads(LISTED.to_bytes()) | changes  # type: ignore[no-any-return]


def parts(**changes: Any) -> list[dict[str, Any]]:
    """The parts, with changes of the second."""
    found: list[dict[str, Any]] = content()["parts"]
    found[1] |= changes
    return found


def test_a_list_is_read_as_it_was_written() -> None:
    assert PartList.from_bytes(LISTED.to_bytes(), "it") == LISTED
    assert [(part.name, part.offset, part.size) for part in LISTED.parts] == [
        ("x.tar.001", 0, 100),
        ("x.tar.002", 100, 100),
        ("x.tar.003", 200, 50),
    ]


def test_unknown_fields_are_no_fault() -> None:
    assert PartList.from_bytes(json.dumps(content(later=1)).encode(), "it") == LISTED


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": 2},
        {"mediaType": "application/x"},
        {"bundle": "sha256:../../x"},
        {"size": 251},
        {"size": 200},
        {"size": 1 << 63},
        {"size": (1 << 63) - 1},
        {"size": -1},
        {"size": 250.0},
        {"partSize": 0},
        {"partSize": 1},
        {"partSize": 99},
        {"partSize": True},
        {"parts": []},
        {"parts": {}},
        {"parts": parts()[:2]},
        {"parts": parts() * 4000},
        {"parts": parts()[::-1]},
        {"parts": parts(name="../x.tar.002")},
        {"parts": parts(name="/etc/x.002")},
        {"parts": parts(name="..")},
        {"parts": parts(name="x.tar.001")},
        {"parts": parts(name="x.tar.003")},
        {"parts": parts(name="x.tar.002\n")},
        {"parts": parts(name="y.tar.002")},
        {"parts": parts(name="x" * 300 + ".002")},
        {"parts": parts(size=99)},
        {"parts": parts(size=10**4000)},
        {"parts": parts(digest="sha256:x")},
        {"parts": [None]},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_a_list_whose_parts_make_no_archive_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError) as caught:
        PartList.from_bytes(json.dumps(content(**changes)).encode(), "it")
    assert caught.value.exit_code == 8
    assert caught.value.message.startswith("it ")


def test_first_name_with_a_slash_is_refused() -> None:
    found = [{**part, "name": f"../{part['name']}"} for part in parts()]
    with pytest.raises(IntegrityError):
        PartList.from_bytes(json.dumps(content(parts=found)).encode(), "it")


def test_more_than_a_thousand_parts_have_longer_numbers() -> None:
    listed = PartList.of(Digest.of(b""), "x", 1001, 1, [Digest.of(b"")] * 1001)
    assert (listed.parts[8].name, listed.parts[-1].name) == ("x.009", "x.1001")
    assert PartList.from_bytes(listed.to_bytes(), "it") == listed


@pytest.mark.parametrize(("part_size", "size"), [(MIN_PART - 1, 1), (MIN_PART, MIN_PART * MAX_PARTS + 1)])
def test_too_many_and_too_small_parts_are_refused(part_size: int, size: int) -> None:
    with pytest.raises(UsageError):
        check_part_size(part_size, size)
    check_part_size(MIN_PART, MIN_PART * MAX_PARTS)
