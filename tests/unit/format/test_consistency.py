"""What metadata says of itself and of its manifest must hold together; each refusal says which claim does not."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from bundles import BASE, metadata

from bundler.errors import IntegrityError
from bundler.format import artifact, consistency, toc
from bundler.format import metadata as meta
from bundler.format.content import Descriptor, Digest
from bundler.format.image import LABEL_DIGEST

LAYER = meta.Layer(diff_id=Digest.of(b"layer"), size=1024, entries=2, exports=("/s",))
BLOB = Descriptor.of(artifact.LAYER, b"blob")
OPT = meta.Export(path="/opt/s", resolved="/opt/s", kind="directory", entries=1, size=0, volume=False)


def parent(path: str) -> meta.Parent:
    return meta.Parent(path=path, mode=0o755, uid=0, gid=0)


def export(path: str, resolved: str) -> meta.Export:
    return OPT.model_copy(update={"path": path, "resolved": resolved})


def check(layers: list[meta.Layer], blobs: list[Descriptor], annotations: dict[str, str] | None = None, **changes: Any) -> None:
    described = metadata(layers, **changes)
    manifest = artifact.build(described, Descriptor.of(artifact.CONFIG, described.to_bytes()), blobs)
    consistency.check(replace(manifest, annotations={**manifest.annotations, **(annotations or {})}), described, "here")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"base": BASE.model_copy(update={"chain_id": Digest.of(b"x")})}, "the chain ID in the metadata is not that of the base"),
        ({"created": "2026-02-30T00:00:00Z"}, "'2026-02-30T00:00:00Z' in the metadata is no time"),
        ({"lineage": (meta.Ancestor(digest=Digest.of(b"x"), created="2026-13-01T00:00:00Z"),)}, "is no time"),
        ({"image": {"Labels": {LABEL_DIGEST: "x"}}}, "the metadata sets labels fps.bundle."),
        ({"base": BASE.model_copy(update={"config": {"Labels": {"fps.bundle.x": ""}}})}, "the metadata sets labels fps.bundle."),
        ({"parents": (parent("/opt"),)}, "the parents in the metadata are not the directories above the exports"),
        ({"exports": (OPT,)}, "the parents in the metadata are not the directories above the exports"),
        ({"exports": (OPT,), "parents": (parent("/opt"),) * 2}, "the parents in the metadata are not the directories"),
        ({"exports": (OPT,), "parents": (parent("/opt"), parent("/srv"))}, "the parents in the metadata are not the directories"),
        ({"removed": ("/t",)}, "the path '/t' in the metadata lies outside of the exports"),
        ({"removed": ("/st",)}, "the path '/st' in the metadata lies outside of the exports"),
        ({"privileged": ("/s2/f",)}, "the path '/s2/f' in the metadata lies outside of the exports"),
        ({"removed": ("/s/a", "/s/a/b")}, "the removed paths in the metadata are not the topmost ones, in their order"),
        ({"removed": ("/s/a", "/s/a")}, "the removed paths in the metadata are not the topmost ones, in their order"),
        ({"removed": ("/s/b", "/s/a")}, "the removed paths in the metadata are not the topmost ones, in their order"),
        ({"removed": ("/s/../x",)}, "the path '/s/../x' in the metadata is not a clean path"),
        ({"exports": (export("/proc/1", "/s"),)}, "the path '/proc/1' in the metadata lies in /proc"),
        ({"exports": (export("/s", "/sys/x"),)}, "the path '/sys/x' in the metadata lies in /sys"),
        ({"parents": (parent("/dev"),)}, "the path '/dev' in the metadata lies in /dev"),
        ({"removed": ("/s/%41",)}, "a path is not in its canonical spelling: '/s/%41'"),
    ],
)
def test_a_claim_that_contradicts_another_one_is_refused_and_named(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(IntegrityError, match=f"^here: .*{re.escape(why)}"):
        check([LAYER], [BLOB], **changes)


def test_removed_paths_need_a_layer_that_removes_them() -> None:
    check([LAYER], [BLOB], removed=("/s/gone",))
    check([], [])
    with pytest.raises(IntegrityError, match="the metadata has removed paths, and no layer that could remove them"):
        check([], [], removed=("/s/gone",))


def test_removed_paths_whose_names_begin_alike_are_not_within_each_other() -> None:
    check([LAYER], [BLOB], removed=("/s/model", "/s/model.bak"))


@pytest.mark.parametrize(("layers", "blobs"), [(1, 0), (0, 1), (2, 1)])
def test_metadata_and_manifest_have_the_same_layers(layers: int, blobs: int) -> None:
    with pytest.raises(IntegrityError, match=f"the metadata describes {layers} layers?, the manifest {blobs}"):
        check([LAYER] * layers, [BLOB] * blobs)


@pytest.mark.parametrize("name", [artifact.TITLE, artifact.VERSION, artifact.CREATED])
def test_the_annotations_repeat_the_metadata(name: str) -> None:
    check([LAYER], [BLOB], annotations={"org.example.more": "x"})
    with pytest.raises(IntegrityError, match="the manifest's annotations say something else than the metadata"):
        check([LAYER], [BLOB], annotations={name: "another"})


def test_the_bytes_of_all_layers_can_be_counted() -> None:
    half = LAYER.model_copy(update={"size": 2**62})
    check([half], [BLOB])
    with pytest.raises(IntegrityError, match="more bytes than can be counted"):
        check([half, half], [BLOB, BLOB])


def test_a_table_at_an_impossible_place_is_refused() -> None:
    with pytest.raises(IntegrityError, match=r"^here: the layer .* has a table of contents at an impossible place"):
        check([LAYER], [replace(BLOB, annotations={toc.POSITION: "1:1:1:1", toc.CHECKSUM: str(BLOB.digest)})])
