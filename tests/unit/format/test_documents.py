"""JSON that a stranger wrote: documents, manifests, indexes, metadata."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bundles import bundle, metadata
from fakes import MemoryStore

from bundler.errors import IntegrityError, ModelError, NotFoundError
from bundler.format import artifact, strict_json
from bundler.format import metadata as meta
from bundler.format.content import Descriptor, Digest
from bundler.format.metadata import Metadata
from bundler.stores.layout import index


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'"x"',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"layers": [], "Layers": []}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": ' + b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 1} x',
        b'{"a": "' + b"x" * (4 << 20) + b'"}',
    ],
)
def test_json_that_can_be_read_in_two_ways_or_choke_a_reader_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        strict_json.load(data, "a document")


@pytest.mark.parametrize("name", ["Labels", "annotations", "ExposedPorts", "Volumes"])
def test_keys_that_are_data_may_differ_in_case_alone(name: str) -> None:
    assert strict_json.load(f'{{"{name}": {{"a": 1, "A": 2}}}}'.encode(), "a document")[name] == {"a": 1, "A": 2}


def manifest(**changes: Any) -> bytes:
    store = MemoryStore()
    content = json.loads(store.blobs[bundle(store).digest])
    content |= changes
    return json.dumps({key: value for key, value in content.items() if value is not None}).encode()


def test_a_manifest_that_was_written_is_read_again() -> None:
    read = artifact.read(manifest(), "here")
    assert read.annotations[artifact.TITLE] == "Model"
    assert len(read.blobs) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": 1},
        {"mediaType": artifact.INDEX},
        {"mediaType": None},
        {"artifactType": "application/x"},
        {"artifactType": None},
        {"manifests": []},
        {"Layers": []},
        {"Manifests": []},
        {"FSLayers": []},
        {"Subject": {}},
        {"layers": None},
        {"layers": [{"mediaType": "application/x", "digest": "sha256:" + "a" * 64, "size": 1}]},
        {"config": None},
        {"config": {"mediaType": artifact.CONFIG, "digest": "sha256:../../x", "size": 1}},
        {"annotations": {"a": 1}},
        {"annotations": []},
    ],
)
def test_a_manifest_that_is_no_bundles_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        artifact.read(manifest(**changes), "here")


def test_a_base_digest_is_a_manifests_or_left_out() -> None:
    layers = [meta.Layer(diff_id=Digest.of(b""), size=0, entries=0, exports=())]
    config = Descriptor.of(artifact.CONFIG, b"{}")
    assert artifact.BASE_DIGEST not in artifact.build(metadata(layers), config, []).annotations
    base = metadata(layers).base.model_copy(update={"repo_digests": ("r.example/x@sha256:" + "b" * 64,)})
    assert artifact.build(metadata(layers, base=base), config, []).annotations[artifact.BASE_DIGEST] == "sha256:" + "b" * 64


def test_metadata_keeps_what_it_does_not_know() -> None:
    content = json.loads(metadata([]).to_bytes())
    content["later"] = {"x": [1]}
    content["model"]["also"] = "later"
    data = json.dumps(content).encode()
    assert json.loads(Metadata.from_bytes(data, "here").to_bytes()) == content


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schemaVersion",), 2),
        (("created",), "yesterday"),
        (("exports",), []),
        (("exports", 0, "path"), "relative"),
        (("exports", 0, "entries"), -1),
        (("base", "diffIDs"), ["sha256:x"]),
        (("base", "platform"), {}),
        (("image", "Env"), "A=1"),
        (("image", "Labels"), {"a": 1}),
        (("removed",), ["no/slash"]),
        (("layers",), [{}]),
        (("lineage",), [{"digest": "x", "created": "2026-01-01T00:00:00Z"}]),
    ],
)
def test_metadata_that_breaks_its_schema_is_refused(path: tuple[Any, ...], value: Any) -> None:
    content = json.loads(metadata([]).to_bytes())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(IntegrityError):
        Metadata.from_bytes(json.dumps(content).encode(), "here")


def test_metadata_that_no_store_takes_is_not_written() -> None:
    exports = tuple(
        meta.Export(path=f"/{'x' * 1000}/{number}", resolved="/x", kind="file", entries=1, size=1, volume=False)
        for number in range(4_200)
    )
    with pytest.raises(ModelError) as caught:
        metadata([], exports=exports).to_bytes()
    assert "name directories" in caught.value.hint


def test_the_same_state_is_recognised_whatever_its_time_and_place() -> None:
    digest = Digest.of(b"the other")
    one = metadata([])
    moved = one.model_copy(
        update={
            "created": "2030-01-01T00:00:00Z",
            "tool": meta.Tool(name="fps-bundle", version="9"),
            "base": one.base.model_copy(update={"names": ("other:1",), "image_id": "sha256:2"}),
            "lineage": (meta.Ancestor(digest=digest, created=one.created),),
        }
    )
    assert moved.same_state(one, digest)
    assert not moved.same_state(one, Digest.of(b"a third"))
    assert not one.model_copy(update={"image": {}}).same_state(one, digest)


def test_source_date_epoch_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert meta.now() == "1970-01-01T00:00:00Z"


def skopeos(**changes: Any) -> bytes:
    descriptor = {
        "mediaType": artifact.MANIFEST,
        "digest": "sha256:" + "a" * 64,
        "size": 1,
        "annotations": {artifact.REF_NAME: "1"},
    }
    return json.dumps({"schemaVersion": 2, "manifests": [descriptor], **changes}).encode()


def test_an_index_as_skopeo_writes_it_is_read() -> None:
    (named,) = index.read(skopeos(), "here")
    assert named.name == "1"
    assert index.read(index.write([named]), "here")[0].name == "1"


@pytest.mark.parametrize("changes", [{"mediaType": artifact.MANIFEST}, {"layers": []}, {"schemaVersion": 1}, {"manifests": {}}])
def test_an_index_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        index.read(skopeos(**changes), "here")


def test_one_of_several_must_be_named() -> None:
    store = MemoryStore()
    bundle(store, name="1")
    bundle(store, name="2", created="2027-01-01T00:00:00Z")
    data = index.write(store.names())
    with pytest.raises(NotFoundError, match="several"):
        index.find(data, "", None, "here")
    assert index.find(data, "2", None, "here").digest == store.tags["2"].digest
    assert index.find(data, "", store.tags["1"].digest, "here").digest == store.tags["1"].digest
    with pytest.raises(NotFoundError) as caught:
        index.find(data, "3", None, "here")
    assert "1, 2" in caught.value.hint
