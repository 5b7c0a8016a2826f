from __future__ import annotations

import json
from typing import Any

import pytest
from bundles import BASE, metadata

from bundler.errors import IntegrityError
from bundler.format import artifact
from bundler.format.content import Descriptor, Digest

CONFIG = Descriptor.of(artifact.CONFIG, b"{}")
LAYERS = [Descriptor.of(artifact.LAYER, b"one"), Descriptor.of(artifact.LAYER, b"three")]
SOUND = artifact.build(metadata([]), CONFIG, LAYERS)


def changed(**fields: Any) -> bytes:
    content = json.loads(SOUND.data) | fields
    return json.dumps({key: value for key, value in content.items() if value is not ...}).encode()


def test_what_is_built_is_read() -> None:
    assert artifact.read(SOUND.data, "here") == SOUND
    assert SOUND.descriptor == Descriptor.of(artifact.MANIFEST, SOUND.data)
    assert SOUND.blobs == (*LAYERS, CONFIG)
    assert SOUND.size == len(SOUND.data) + 2 + 3 + 5


def test_the_manifest_is_that_of_an_oci_artifact() -> None:
    content = json.loads(SOUND.data)
    assert content["schemaVersion"] == 2
    assert content["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert content["artifactType"] == "application/vnd.fps.bundle.v1"
    assert content["config"]["mediaType"] == "application/vnd.fps.bundle.config.v1+json"
    assert {layer["mediaType"] for layer in content["layers"]} == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    assert SOUND.data == json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def test_annotations_say_what_is_known_and_no_more() -> None:
    assert SOUND.annotations == {
        artifact.CREATED: "2026-01-02T03:04:05Z",
        artifact.TITLE: "Model",
        artifact.VERSION: "1.0",
        artifact.BASE_NAME: "model:1.0",
    }


def test_the_base_digest_is_that_of_a_manifest() -> None:
    names = (f"r.example/x@{Digest.of(b'b')}", f"r.example/x@{Digest.of(b'a')}")
    base = BASE.model_copy(update={"names": (), "repo_digests": names})
    annotations = artifact.build(metadata([], base=base), CONFIG, LAYERS).annotations
    assert annotations[artifact.BASE_DIGEST] == min(str(Digest.of(b"a")), str(Digest.of(b"b")))
    assert artifact.BASE_NAME not in annotations


@pytest.mark.parametrize(
    "fields",
    [
        {"schemaVersion": 1},
        {"schemaVersion": ...},
        {"mediaType": artifact.INDEX},
        {"mediaType": ...},
        {"manifests": []},
        {"fsLayers": []},
        {"signatures": []},
        {"Layers": []},
        {"artifactType": ...},
        {"artifactType": "application/vnd.example"},
        {"layers": ...},
        {"layers": {}},
        {"layers": [1]},
        {"layers": [CONFIG.to_json()]},
        {"layers": [{**LAYERS[0].to_json(), "size": -1}]},
        {"layers": [{**LAYERS[0].to_json(), "digest": "sha256:../../etc"}]},
        {"config": ...},
        {"config": LAYERS[0].to_json()},
        {"annotations": ["a"]},
        {"annotations": {"a": 1}},
    ],
)
def test_what_is_no_sound_bundle_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        artifact.read(changed(**fields), "here")


def test_an_ordinary_image_is_told_from_a_bundle() -> None:
    assert artifact.is_bundle(SOUND.data)
    assert not artifact.is_bundle(changed(artifactType=...))
    with pytest.raises(IntegrityError) as caught:
        artifact.read(changed(artifactType=...), "here")
    assert "fps-bundle push" in caught.value.hint
