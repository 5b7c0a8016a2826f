"""What a signer says of a bundle: written once, read strictly, compared with the bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from bundles import bundle
from fakes import MemoryStore

from bundler.bundle import Bundle, read_bundle
from bundler.errors import IntegrityError
from bundler.format import artifact, signature
from bundler.format import metadata as meta
from bundler.format.content import Descriptor, Digest
from bundler.format.statement import MAX_SEQUENCE, Statement

LINE = (meta.Ancestor(digest=Digest.of(b"older"), created="2025-01-01T00:00:00Z"),)


@pytest.fixture
def found() -> Bundle:
    store = MemoryStore()
    model = meta.Model(title="Modèle", version="1.0", data_set_uuid="11111111-2222-3333-4444-555555555555")
    bundle(store, lineage=LINE, model=model)
    return read_bundle(store)


@pytest.fixture
def statement(found: Bundle) -> Statement:
    return Statement.of(found.manifest, found.metadata, 7, "2026-02-03T04:05:06Z")


def test_a_statement_says_all_that_decides_where_a_bundle_may_go(found: Bundle, statement: Statement) -> None:
    content = json.loads(statement.to_bytes())
    assert content["_type"] == "https://in-toto.io/Statement/v1"
    digests = [subject["digest"]["sha256"] for subject in content["subject"]]
    assert digests == [found.digest.hex, found.manifest.config.digest.hex]
    assert content["predicate"] == {
        "title": "Modèle",
        "version": "1.0",
        "dataSetUUID": "11111111-2222-3333-4444-555555555555",
        "baseDiffIDs": [str(diff_id) for diff_id in found.metadata.base.diff_ids],
        "entries": sum(layer.entries for layer in found.metadata.layers),
        "size": found.metadata.size,
        "created": "2026-01-02T03:04:05Z",
        "lineage": [{"digest": str(LINE[0].digest), "created": LINE[0].created}],
        "sequence": 7,
        "signed": "2026-02-03T04:05:06Z",
    }


def test_a_statement_is_canonical_and_read_as_it_was_written(statement: Statement) -> None:
    data = statement.to_bytes()
    assert data == json.dumps(json.loads(data), ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    assert Statement.from_bytes(data, "here") == statement


@pytest.mark.parametrize("sequence", [MAX_SEQUENCE + 1, 2**64])
def test_a_number_that_parsers_disagree_about_is_not_signed(statement: Statement, sequence: int) -> None:
    with pytest.raises(IntegrityError, match="canonical"):
        replace(statement, sequence=sequence).to_bytes()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("_type",), "https://in-toto.io/Statement/v0.1"),
        (("predicateType",), "https://slsa.dev/provenance/v1"),
        (("subject",), []),
        (("subject", 0, "name"), "config"),
        (("subject", 0, "digest"), {"sha256": "A" * 64}),
        (("subject", 0, "digest"), {"sha256": "a" * 64, "sha512": "a"}),
        (("subject", 1, "uri"), "https://elsewhere.example"),
        (("later",), 1),
        (("predicate", "later"), 1),
        (("predicate", "title"), None),
        (("predicate", "title"), ""),
        (("predicate", "sequence"), -1),
        (("predicate", "sequence"), "7"),
        (("predicate", "sequence"), True),
        (("predicate", "sequence"), MAX_SEQUENCE + 1),
        (("predicate", "created"), "yesterday"),
        (("predicate", "signed"), "2026-02-03T04:05:06Z\n"),
        (("predicate", "baseDiffIDs", 0), "sha256:../../x"),
        (("predicate", "lineage", 0), {"digest": str(Digest.of(b""))}),
    ],
)
def test_a_statement_of_another_form_is_refused(statement: Statement, path: tuple[Any, ...], value: Any) -> None:
    content = json.loads(statement.to_bytes())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(IntegrityError, match="the statement breaks its schema at "):
        Statement.from_bytes(json.dumps(content).encode(), "here")


@pytest.mark.parametrize(
    "field", ["title", "version", "baseDiffIDs", "entries", "size", "created", "lineage", "sequence", "signed"]
)
def test_a_statement_without_a_field_is_refused(statement: Statement, field: str) -> None:
    content = json.loads(statement.to_bytes())
    del content["predicate"][field]
    with pytest.raises(IntegrityError, match=rf"breaks its schema at \$\.predicate: '{field}' is a required property"):
        Statement.from_bytes(json.dumps(content).encode(), "here")


@pytest.mark.parametrize(
    "changes",
    [
        {"manifest": Digest.of(b"x")},
        {"config": Digest.of(b"x")},
        {"title": "Other"},
        {"version": "2.0"},
        {"data_set_uuid": None},
        {"base": (Digest.of(b"x"),)},
        {"entries": 99},
        {"size": 99},
        {"created": "2020-01-01T00:00:00Z"},
        {"lineage": ()},
    ],
)
def test_every_field_must_be_true_of_the_bundle(found: Bundle, statement: Statement, changes: dict[str, Any]) -> None:
    assert statement.disagreements(found.manifest, found.metadata) == []
    assert replace(statement, **changes).disagreements(found.manifest, found.metadata) == list(changes)


def test_a_signature_is_an_artifact_that_refers_to_its_bundle(found: Bundle) -> None:
    subject = found.manifest.descriptor
    made = signature.build(subject, b"said", b"signed")
    assert made == signature.build(subject, b"said", b"signed")
    assert made.referrer.subject == found.digest
    assert signature.is_signature(made.referrer)
    said, signed = signature.parts(made.referrer, "here")
    assert made.blobs[:2] == ((said, b"said"), (signed, b"signed"))


@pytest.mark.parametrize("change", ["no layer", "another type", "a config", "too long"])
def test_an_artifact_of_another_form_is_no_signature(found: Bundle, change: str) -> None:
    content = json.loads(signature.build(found.manifest.descriptor, b"said", b"signed").referrer.data)
    if change == "no layer":
        del content["layers"][1]
    if change == "another type":
        content["layers"][0]["mediaType"] = "text/plain"
    if change == "a config":
        content["config"] = Descriptor.of("text/plain", b"{}").to_json()
    if change == "too long":
        content["layers"][1]["size"] = signature.MAX_SIGNATURE + 1
    with pytest.raises(
        IntegrityError, match="is longer than" if change == "too long" else "does not have the blobs of a signature"
    ):
        signature.parts(artifact.read_referrer(json.dumps(content).encode(), "here"), "here")
