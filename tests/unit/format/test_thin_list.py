"""The list of what another place has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bundler.errors import IntegrityError, UsageError
from bundler.format import thin_list
from bundler.format.content import Digest
from bundler.format.thin_list import Had

HAD = [Had("detector:7", Digest.of(b"7"), frozenset({Digest.of(b"x"), Digest.of(b"y")})), Had("other", Digest.of(b"o"))]


def test_a_list_is_read_as_it_was_written() -> None:
    assert thin_list.read(thin_list.write(HAD), "it") == HAD
    assert thin_list.read(thin_list.write([]), "it") == []


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
        thin_list.read(json.dumps(json.loads(thin_list.write(HAD)) | changes).encode(), "it")


def test_a_list_that_nobody_would_read_is_not_written() -> None:
    with pytest.raises(UsageError):
        thin_list.write([Had("x" * 4000, Digest.of(b""))] * 1100)


def test_an_annotation_names_bundles_again() -> None:
    assert [(it.name, it.digest) for it in thin_list.needed(thin_list.annotation(HAD))] == [(it.name, it.digest) for it in HAD]
    assert thin_list.needed("") == []
    with pytest.raises(IntegrityError):
        thin_list.needed("sha256:x detector")
