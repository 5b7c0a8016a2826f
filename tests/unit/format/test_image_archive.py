from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from bundles import BASE, pack
from fakes import MemoryStore, file, tree

from bundler.errors import EngineError, IntegrityError
from bundler.format import artifact, image_archive
from bundler.format.content import Descriptor, Digest
from bundler.format.image_archive import NewImage, NewLayer

CONFIG = json.dumps({"rootfs": {"diff_ids": [str(diff_id) for diff_id in BASE.diff_ids]}}).encode()
NAME = "loading:abc"


def new_image(store: MemoryStore) -> NewImage:
    _, descriptors, layers = pack(store, tree(file("/s/f", b"hello")), ["/s"])
    new = tuple(
        NewLayer(descriptor, described, lambda descriptor=descriptor: store.open(descriptor))  # type: ignore[misc]
        for descriptor, described in zip(descriptors, layers, strict=True)
    )
    return NewImage(b'{"new": "config"}', tuple(BASE.diff_ids), new)


def members(stream: Iterator[bytes]) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        found = {}
        for info in archive:
            extracted = archive.extractfile(info)
            found[info.name] = extracted.read() if extracted else b""
    return found


def tarred(files: dict[str, bytes]) -> io.BytesIO:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    target.seek(0)
    return target


def test_a_partial_docker_archive_names_the_bases_layers_but_has_them_not() -> None:
    image = new_image(MemoryStore())
    found = members(image_archive.partial_docker_archive(image, NAME))
    (manifest,) = json.loads(found["manifest.json"])
    assert manifest["RepoTags"] == [NAME]
    assert found[manifest["Config"]] == image.config
    assert manifest["Config"] == f"{Digest.of(image.config).hex}.json"
    assert len(manifest["Layers"]) == 3
    assert [layer in found for layer in manifest["Layers"]] == [False, False, True]
    assert Digest.of(found[manifest["Layers"][-1]]) == image.diff_ids[-1]


def test_a_full_docker_archive_has_the_saved_layers_and_the_new_ones() -> None:
    saved = {
        "one/layer.tar": b"one",
        "two/layer.tar": b"two",
        "old.json": b"{}",
        "manifest.json": json.dumps([{"Config": "old.json", "Layers": ["one/layer.tar", "two/layer.tar"]}]).encode(),
        "repositories": b"{}",
    }
    image = new_image(MemoryStore())
    found = members(image_archive.full_docker_archive(image, NAME, tarred(saved)))
    (manifest,) = json.loads(found["manifest.json"])
    assert [found[layer] for layer in manifest["Layers"][:2]] == [b"one", b"two"]
    assert Digest.of(found[manifest["Layers"][2]]) == image.diff_ids[-1]
    assert found[manifest["Config"]] == image.config
    assert "repositories" not in found


def test_of_a_saved_image_that_only_begins_with_the_base_the_first_layers_are_taken() -> None:
    layers = ["1.tar", "2.tar", "3.tar"]
    saved = {**{name: name.encode() for name in layers}, "manifest.json": json.dumps([{"Layers": layers}]).encode()}
    (manifest,) = json.loads(
        members(image_archive.full_docker_archive(new_image(MemoryStore()), NAME, tarred(saved)))["manifest.json"]
    )
    assert manifest["Layers"][:2] == ["1.tar", "2.tar"]
    assert "3.tar" not in manifest["Layers"]


@pytest.mark.parametrize("manifest", [None, b"", b"[]", b"{}", b"[{}]", b'[{"Layers": null}]', b'[{"Layers": ["1.tar"]}]'])
def test_a_saved_base_that_is_not_all_there_is_the_engines_fault(manifest: bytes | None) -> None:
    saved = {"1.tar": b"1"} | ({"manifest.json": manifest} if manifest is not None else {})
    with pytest.raises(EngineError):
        list(image_archive.full_docker_archive(new_image(MemoryStore()), NAME, tarred(saved)))


def test_a_partial_layout_names_the_bases_layers_but_has_them_not() -> None:
    image = new_image(MemoryStore())
    base = [Descriptor.of(artifact.LAYER, b"one"), Descriptor.of(artifact.LAYER, b"two")]
    found = members(image_archive.partial_oci_layout(image, NAME, base))
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(found["index.json"])["manifests"]
    assert entry["annotations"] == {"io.containerd.image.name": f"docker.io/library/{NAME}", artifact.REF_NAME: "abc"}
    manifest = json.loads(found[blob(entry)])
    assert found[blob(manifest["config"])] == image.config
    assert [blob(layer) in found for layer in manifest["layers"]] == [False, False, True]
    assert all(Digest.of(data).hex == name.rpartition("/")[2] for name, data in found.items() if name.startswith("blobs/"))


def blob(descriptor: dict[str, Any]) -> str:
    return f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}"


def saved_layout() -> dict[str, bytes]:
    layers = [Descriptor.of(artifact.LAYER, b"one"), Descriptor.of(artifact.LAYER, b"two")]
    manifest = json.dumps(
        {"config": Descriptor.of(artifact.IMAGE_CONFIG, CONFIG).to_json(), "layers": [layer.to_json() for layer in layers]}
    ).encode()
    blobs = (b"one", b"two", manifest, CONFIG, b"[1]", b'{"config": {}}')
    return {f"blobs/sha256/{Digest.of(data).hex}": data for data in blobs}


def test_layers_of_a_saved_layout_are_found_wherever_its_manifest_stands() -> None:
    files = saved_layout()
    expected = [Descriptor.of(artifact.LAYER, b"one"), Descriptor.of(artifact.LAYER, b"two")]
    for order in (files, dict(reversed(files.items()))):
        assert image_archive.layers_of_saved_oci_layout(tarred(order), BASE.diff_ids) == expected


def test_a_saved_layout_of_another_image_is_the_engines_fault() -> None:
    with pytest.raises(EngineError):
        image_archive.layers_of_saved_oci_layout(tarred(saved_layout()), [Digest.of(b"other")])


def test_a_layer_that_is_damaged_on_its_way_to_the_engine_stops_the_archive() -> None:
    store = MemoryStore()
    image = new_image(store)
    (layer,) = image.layers
    store.blobs[layer.descriptor.digest] = store.blobs[layer.descriptor.digest][:-9] + b"?" * 9
    with pytest.raises(IntegrityError):
        list(image_archive.partial_docker_archive(image, NAME))


def test_the_digest_of_the_config_and_all_diff_ids_name_the_image() -> None:
    image = new_image(MemoryStore())
    assert image.config_digest == Digest.of(image.config)
    assert image.diff_ids == (*BASE.diff_ids, image.layers[0].description.diff_id)
