from __future__ import annotations

import json
from typing import Any

import pytest
from bundles import BASE, metadata

from bundler.format import artifact, image
from bundler.format import metadata as meta
from bundler.format.content import Digest

BUNDLE = Digest.of(b"bundle")
LAYERS = [meta.Layer(diff_id=Digest.of(b"new"), size=1024, entries=0, exports=("/s",))]
DIFF_IDS = (*BASE.diff_ids, LAYERS[0].diff_id)


def built(**changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(image.build_config(metadata(LAYERS, **changes), BUNDLE))
    return config


def test_chain_ids_are_those_of_the_oci_spec() -> None:
    one, two, three = (Digest.of(text) for text in (b"1", b"2", b"3"))
    assert image.chain_id([one]) == one
    assert image.chain_id([one, two]) == Digest.of(f"{one} {two}".encode())
    assert image.chain_id([one, two, three]) == Digest.of(f"{Digest.of(f'{one} {two}'.encode())} {three}".encode())


def test_the_config_is_a_function_of_the_bundle() -> None:
    assert image.build_config(metadata(LAYERS), BUNDLE) == image.build_config(metadata(LAYERS), BUNDLE)
    assert image.build_config(metadata(LAYERS), BUNDLE) != image.build_config(metadata(LAYERS), Digest.of(b"x"))


def test_names_of_the_bundles_source_are_not_in_the_config() -> None:
    elsewhere = meta.Source(engine="Podman 5", container_name="y", container_id="d" * 64, host_name="host")
    assert built() == built(source=elsewhere, tool=meta.Tool(name="fps-bundle", version="99"))


def test_the_layers_of_the_bundle_stand_on_those_of_the_base() -> None:
    config = built()
    assert config["rootfs"] == {"type": "layers", "diff_ids": [str(diff_id) for diff_id in DIFF_IDS]}
    assert len(config["history"]) == 3
    assert (config["os"], config["architecture"], config["created"]) == ("linux", "amd64", "2026-01-02T03:04:05Z")


def test_settings_are_those_of_the_bundle_and_not_of_the_base() -> None:
    base = BASE.model_copy(update={"config": {"Cmd": ["old"], "User": "root", "Shell": ["/bin/ash"], "Labels": {"old": "1"}}})
    config = built(base=base, image={"Cmd": ["new"], "Labels": {"mine": "yes"}})["config"]
    assert config["Cmd"] == ["new"]
    assert "User" not in config
    assert config["Shell"] == ["/bin/ash"]
    assert {key for key in config["Labels"] if not key.startswith(image.LABEL_PREFIX)} == {"mine"}


def test_labels_say_what_the_image_is_made_of() -> None:
    ancestor = meta.Ancestor(digest=Digest.of(b"older"), created="2025-01-01T00:00:00Z")
    labels = built(lineage=(ancestor,))["config"]["Labels"]
    assert labels[image.LABEL_DIGEST] == str(BUNDLE)
    assert image.clean_layers(labels, DIFF_IDS) == 2
    found = image.lineage(labels, DIFF_IDS)
    assert found == (meta.Ancestor(digest=BUNDLE, created="2026-01-02T03:04:05Z"), ancestor)


def test_our_own_labels_and_empty_fields_are_no_settings() -> None:
    config = {"Labels": {image.LABEL_DIGEST: "x", "mine": "1"}, "Cmd": ["x"], "Env": None, "Entrypoint": [], "Hostname": "h"}
    assert image.settings(config) == {"Cmd": ["x"], "Labels": {"mine": "1"}}
    assert image.settings({"Labels": {image.LABEL_DIGEST: "x"}}) == {}
    assert image.settings({"Labels": None}) == {}


LABELS = {
    image.LABEL_IMAGE_LAYERS: "3",
    image.LABEL_BASE_LAYERS: "2",
    image.LABEL_CHAIN_ID: str(BASE.chain_id),
    image.LABEL_LINEAGE: f"{BUNDLE}@2026-01-02T03:04:05Z",
}


@pytest.mark.parametrize(
    ("change", "diff_ids"),
    [
        ({}, (*DIFF_IDS, Digest.of(b"built FROM ours"))),
        ({}, DIFF_IDS[:2]),
        ({}, (Digest.of(b"another"), *DIFF_IDS[1:])),
        ({image.LABEL_BASE_LAYERS: "4"}, DIFF_IDS),
        ({image.LABEL_BASE_LAYERS: "1"}, DIFF_IDS),
        ({image.LABEL_BASE_LAYERS: "-1"}, DIFF_IDS),
        ({image.LABEL_BASE_LAYERS: "²"}, DIFF_IDS),
        ({image.LABEL_BASE_LAYERS: ""}, DIFF_IDS),
        ({image.LABEL_CHAIN_ID: ""}, DIFF_IDS),
    ],
)
def test_labels_that_speak_of_other_layers_are_not_believed(change: dict[str, str], diff_ids: tuple[Digest, ...]) -> None:
    assert image.clean_layers(LABELS, DIFF_IDS) == 2
    assert image.clean_layers(LABELS | change, diff_ids) is None
    assert image.lineage(LABELS | change, diff_ids) == ()


def test_an_image_without_our_labels_has_no_lineage() -> None:
    assert image.clean_layers({artifact.TITLE: "x"}, DIFF_IDS) is None
    assert image.lineage({}, DIFF_IDS) == ()


def test_the_config_of_the_clean_base_is_of_its_layers_alone() -> None:
    config = json.loads(image.clean_config(BASE))
    assert config["rootfs"]["diff_ids"] == [str(diff_id) for diff_id in BASE.diff_ids]
    assert config["config"] == BASE.config


def test_another_base_of_the_same_version_keeps_its_own_settings_but_those_that_were_changed() -> None:
    recorded = BASE.model_copy(update={"config": {"Cmd": ["old"], "Env": ["A=1"], "Labels": {"theirs": "1", "both": "1"}}})
    other = BASE.model_copy(
        update={"diff_ids": (Digest.of(b"other"),), "config": {"Cmd": ["cuda"], "Env": ["A=2"], "Labels": {"both": "2"}}}
    )
    described = metadata(
        LAYERS, base=recorded, image={"Cmd": ["mine"], "Env": ["A=1"], "Labels": {"theirs": "1", "both": "1", "mine": "1"}}
    )
    config = json.loads(image.build_config(described, BUNDLE, other))
    assert config["config"]["Cmd"] == ["mine"]
    assert config["config"]["Env"] == ["A=2"]
    labels = config["config"]["Labels"]
    assert {key: value for key, value in labels.items() if not key.startswith(image.LABEL_PREFIX)} == {"both": "2", "mine": "1"}
    assert labels[image.LABEL_MATCH] == "version"
    assert config["rootfs"]["diff_ids"][0] == str(Digest.of(b"other"))
    assert image.LABEL_MATCH not in json.loads(image.build_config(described, BUNDLE))["config"]["Labels"]


@pytest.mark.parametrize("line", ["x", "sha256:1@2026-01-01T00:00:00Z", f"{BUNDLE}@yesterday"])
def test_a_lineage_that_is_none_is_not_believed(line: str) -> None:
    labels = built()["config"]["Labels"]
    diff_ids = [Digest.parse(digest) for digest in built()["rootfs"]["diff_ids"]]
    assert image.lineage(labels, diff_ids)
    assert image.lineage({**labels, image.LABEL_LINEAGE: line}, diff_ids) == ()
