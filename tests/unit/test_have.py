"""The list of what another place has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bundler.errors import IntegrityError, UsageError
from bundler.format import have
from bundler.format.content import Digest
from bundler.format.have import Had

HAD = [Had("detector:7", Digest.of(b"7"), frozenset({Digest.of(b"x"), Digest.of(b"y")})), Had("other", Digest.of(b"o"))]


def test_a_list_is_read_as_it_was_written() -> None:
    assert have.read(have.write(HAD), "it") == HAD
    assert have.read(have.write([]), "it") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": 2},
        {"mediaType": "application/vnd.fps.bundle.parts.v1+json"},
        {"bundles": {}},
        {"bundles": [{}]},
        {"bundles": [{"name": "x", "digest": "sha256:x", "blobs": []}]},
        {"bundles": [{"name": "x\n", "digest": str(Digest.of(b"")), "blobs": []}]},
        {"bundles": [{"name": "\u001b[2J", "digest": str(Digest.of(b"")), "blobs": []}]},
        {"bundles": [{"name": "x", "digest": str(Digest.of(b"")), "blobs": ["../x"]}]},
    ],
)
def test_a_list_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match=r"^it "):
        have.read(json.dumps(json.loads(have.write(HAD)) | changes).encode(), "it")


def test_a_list_that_nobody_would_read_is_not_written() -> None:
    with pytest.raises(UsageError):
        have.write([Had("x" * 4000, Digest.of(b""))] * 1100)


def test_an_annotation_names_bundles_again() -> None:
    assert [(it.name, it.digest) for it in have.needed(have.annotation(HAD))] == [(it.name, it.digest) for it in HAD]
    assert have.needed("") == []
    with pytest.raises(IntegrityError):
        have.needed("sha256:x detector")
