"""The specification of deltas (docs/spec/delta.md) names what the program reads and writes, and its example is valid."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bundler.delta import layer_delta, tar_diff
from bundler.errors import IntegrityError
from bundler.format import artifact, delta_manifest
from bundler.format.content import Descriptor

SPEC = (Path(__file__).parents[3] / "docs" / "spec" / "delta.md").read_text()
SHOWN = re.search(r"```json\n(.*?)```", SPEC, re.DOTALL)
assert SHOWN
EXAMPLE: dict[str, Any] = json.loads(SHOWN[1])


def encoded(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode()


def test_the_example_is_what_a_writer_makes() -> None:
    data = encoded(EXAMPLE)
    delta = delta_manifest.read(data, "the example")
    described = Descriptor(artifact.MANIFEST, delta.target, 1)
    target = artifact.Manifest(described, b"", delta.metadata, (), {}, artifact.BUNDLE)
    assert delta_manifest.build(target, delta.target_manifest, delta.source, delta.diffs, [*delta.whole.values()]).data == data
    assert [len(delta.diffs), len(delta.whole), len(delta.source.diff_ids)] == [1, 1, 2]


@pytest.mark.parametrize("missing", EXAMPLE["annotations"])
def test_every_annotation_of_the_example_is_required(missing: str) -> None:
    annotations = {name: value for name, value in EXAMPLE["annotations"].items() if name != missing}
    with pytest.raises(IntegrityError):
        delta_manifest.read(encoded({**EXAMPLE, "annotations": annotations}), "the example")


@pytest.mark.parametrize(
    "change",
    [
        {"subject": EXAMPLE["layers"][0]},
        {"layers": EXAMPLE["layers"][:1]},
        {"layers": EXAMPLE["layers"][1:]},
        {"layers": [*EXAMPLE["layers"], EXAMPLE["layers"][2]]},
        {"layers": [*EXAMPLE["layers"], EXAMPLE["config"]]},
        {"config": EXAMPLE["layers"][1]},
        {"annotations": {**EXAMPLE["annotations"], delta_manifest.TARGET: EXAMPLE["annotations"][delta_manifest.SOURCE]}},
    ],
    ids=["subject", "one blob", "no manifest", "a layer twice", "another blob", "config", "its own source"],
)
def test_a_change_that_the_specification_excludes_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        delta_manifest.read(encoded({**EXAMPLE, **change}), "the example")


def test_media_types_annotations_and_limits_are_those_of_the_program() -> None:
    manifest = delta_manifest
    names = {manifest.DELTA, manifest.TAR_DIFF, manifest.TARGET_MANIFEST, manifest.LAYER, artifact.CONFIG, artifact.LAYER}
    names |= {manifest.TARGET, manifest.SOURCE, manifest.SOURCE_NAME, manifest.SOURCE_LAYERS, manifest.SOURCE_STORED}
    assert {name for name in names if f"`{name}`" not in SPEC} == set()
    assert f"`{tar_diff.MAGIC.hex(' ')}`" in SPEC
    assert f"longer than {tar_diff.MAX_NAME:,} bytes" in SPEC
    assert f"windows of at most {tar_diff.MAX_WINDOW >> 20} MiB" in SPEC
    assert f"at most {manifest.MAX_LINKS} deltas" in SPEC
    assert f"{manifest.MAX_LAYERS} at most" in SPEC
    assert f"at level {layer_delta.LEVEL} with a checksum" in SPEC


@pytest.mark.parametrize("kind", tar_diff.Kind)
def test_each_operation_has_its_number(kind: tar_diff.Kind) -> None:
    name = kind.name.title().replace("_", "").replace("Adddata", "AddData")
    assert f"| `{kind.value}` {name} |" in SPEC


def test_the_tag_of_a_source_has_twelve_digits() -> None:
    source = delta_manifest.read(encoded(EXAMPLE), "the example").source
    assert delta_manifest.source_tag(source.digest) == f"src-{source.digest.hex[:12]}"
