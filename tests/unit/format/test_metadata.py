from __future__ import annotations

import json
from typing import Any

import pytest
from bundles import BASE, metadata

from bundler.errors import BundlerError, IntegrityError, ModelError
from bundler.format import metadata as meta
from bundler.format.content import Digest
from bundler.format.metadata import Metadata

LAYER = meta.Layer(diff_id=Digest.of(b"x"), size=1024, entries=0, exports=("/s",))
SOUND = metadata([LAYER])
MANY = tuple(meta.Parent(path=f"/{'p' * 1000}/{number}", mode=0o755, uid=0, gid=0) for number in range(4200))


def changed(path: tuple[str | int, ...], value: Any) -> bytes:
    content = json.loads(SOUND.to_bytes())
    place = content
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(content).encode()


def test_metadata_round_trips() -> None:
    assert Metadata.from_bytes(SOUND.to_bytes(), "here") == SOUND


def test_the_json_is_canonical() -> None:
    data = SOUND.to_bytes()
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()
    assert data.isascii()


@pytest.mark.parametrize(
    "place", [(), ("base",), ("base", "platform"), ("model",), ("layers", 0), ("exports", 0), ("base", "config")]
)
def test_unknown_fields_survive_a_read_and_a_write(place: tuple[str | int, ...]) -> None:
    data = changed((*place, "ofTheFuture"), {"deep": [1, None, "é"]})
    content = json.loads(Metadata.from_bytes(data, "here").to_bytes())
    for key in place:
        content = content[key]
    assert content["ofTheFuture"] == {"deep": [1, None, "é"]}


@pytest.mark.parametrize(
    "field", ["created", "tool", "base", "image", "exports", "layers", "parents", "removed", "privileged", "lineage"]
)
def test_a_missing_field_is_refused(field: str) -> None:
    with pytest.raises(IntegrityError, match=field):
        Metadata.from_bytes(changed((field,), ...), "here")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("created",), "yesterday"),
        (("created",), "2026-01-02T03:04:05Z\n"),
        (("layers", 0, "diffID"), "sha256:xyz"),
        (("layers", 0, "diffID"), f"{Digest.of(b'x')}\n"),
        (("layers", 0, "size"), -1),
        (("layers", 0, "size"), "1024"),
        (("layers", 0, "size"), True),
        (("layers", 0, "entries"), 2**63),
        (("exports",), []),
        (("exports", 0, "path"), "relative"),
        (("exports", 0, "path"), "/s/"),
        (("exports", 0, "path"), "/s\x1b"),
        (("removed",), ["/s\n"]),
        (("privileged",), ["/é"]),
        (("base", "diffIDs"), ["x"]),
        (("base", "platform"), "linux"),
        (("image", "Env"), "A=1"),
        (("image", "Labels"), {"a": 1}),
        (("lineage",), [{"digest": "x", "created": "2026-01-02T03:04:05Z"}]),
        (("model", "title"), ""),
    ],
)
def test_a_field_of_a_wrong_form_is_refused(path: tuple[str | int, ...], value: Any) -> None:
    with pytest.raises(IntegrityError):
        Metadata.from_bytes(changed(path, value), "here")


@pytest.mark.parametrize("version", [2, 0, "1", None, True])
def test_another_schema_version_is_refused(version: object) -> None:
    with pytest.raises(IntegrityError):
        Metadata.from_bytes(changed(("schemaVersion",), version), "here")


def test_a_newer_schema_version_has_a_hint() -> None:
    with pytest.raises(IntegrityError, match="schema version '2'") as caught:
        Metadata.from_bytes(changed(("schemaVersion",), 2), "here")
    assert "newer fps-bundle" in caught.value.hint


def test_metadata_that_no_registry_takes_are_the_models_fault() -> None:
    with pytest.raises(ModelError, match="more than the 4194304"):
        SOUND.model_copy(update={"parents": MANY}).to_bytes()


def test_what_we_write_is_checked_too() -> None:
    with pytest.raises(BundlerError, match="new metadata breaks its schema"):
        SOUND.model_copy(update={"created": "now"}).to_bytes()


def test_the_time_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert meta.now() == "2023-11-14T22:13:20Z"


OTHER = Digest.of(b"other bundle")
FIRST = meta.Ancestor(digest=OTHER, created="2026-01-01T00:00:00Z")
SECOND = meta.Ancestor(digest=Digest.of(b"third"), created="2025-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "change",
    [
        {"created": "2030-01-01T00:00:00Z"},
        {"tool": meta.Tool(name="x", version="9")},
        {"source": meta.Source(engine="Podman", container_name="y", container_id="z", host_name="elsewhere")},
        {"base": BASE.model_copy(update={"names": ("renamed:1",), "repo_digests": ("r@sha256:1",), "image_id": "sha256:2"})},
        {"lineage": (FIRST, SECOND)},
    ],
)
def test_time_place_and_names_make_no_other_state(change: dict[str, Any]) -> None:
    assert SOUND.model_copy(update=change).same_state(SOUND, OTHER)


@pytest.mark.parametrize(
    "change",
    [
        {"removed": ("/s/x",)},
        {"layers": ()},
        {"image": {}},
        {"model": meta.Model(title="Model", version="2.0")},
        {"base": BASE.model_copy(update={"diff_ids": BASE.diff_ids[:1]})},
        {"privileged": ("/s/f",)},
        {"lineage": (SECOND,)},
        {"lineage": (SECOND, FIRST)},
    ],
)
def test_anything_else_does(change: dict[str, Any]) -> None:
    assert not SOUND.model_copy(update=change).same_state(SOUND, OTHER)


def test_a_platform_is_written_without_what_it_lacks() -> None:
    assert str(meta.Platform(os="linux", architecture="arm64")) == "linux/arm64"
    assert str(meta.Platform(os="linux", architecture="arm", variant="v7")) == "linux/arm/v7"
