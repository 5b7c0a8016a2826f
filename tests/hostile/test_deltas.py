"""A hostile or broken delta is refused with its reason, in little time and memory, and leaves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from fakes import RecordingProgress, file, tree
from typer.testing import CliRunner

from bundler.bundle import read_bundle
from bundler.cli.main import app
from bundler.delta.tar_diff import MAGIC, Kind
from bundler.format import artifact, delta_manifest
from bundler.format.content import Digest
from bundler.format.reference import LocalReference
from bundler.stores.layout.local import LocalStore
from bundler.verbs import copy
from hostile.case import setting
from hostile.deltas import NEW, OLD, DeltaForgery, chain, data, made, opened, operation
from hostile.offer import measured

OTHER = str(Digest.of(b"other"))
WEIGHTS = NEW["/s/weights"][1]
SECONDS, MEMORY = 20, 200 << 20
"""The most that a refusal may take."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, below in {"FPS_BUNDLE_STORE": "store", "XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": "config"}.items():
        monkeypatch.setenv(name, str(tmp_path / below))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def stored() -> list[str]:
    """The files with blobs in the local store."""
    return sorted(path.name for path in LocalStore(LocalReference("")).blobs.iterdir())


def check_refused(reference: str, reason: str, commands: tuple[str, ...] = ("copy",)) -> None:
    LocalStore(LocalReference(""))
    for command in commands:
        arguments = (command, reference, "taken:1", "--quiet") if command == "copy" else (command, reference)
        code, text, seconds, memory = measured(lambda _, __, given=arguments: run(*given), reference, Path())  # type: ignore[misc]
        assert (code, reason in text) == (8, True), f"{command}: exit {code}: {text}"
        assert seconds < SECONDS
        assert memory < MEMORY
        assert LocalStore(LocalReference("")).names() == []
        assert stored() == []


def test_a_sound_forgery_is_accepted(tmp_path: Path) -> None:
    reference = DeltaForgery().to_layout(tmp_path / "layout")
    assert run("verify", reference)[0] == 0
    code, text = run("copy", reference, "taken:1")
    assert code == 0, text
    assert [named.name for named in LocalStore(LocalReference("")).names()] == ["taken:1"]


def bomb(operations: bytes) -> bytes:
    """A stream of 200 kB that is longer than a thousand layers."""
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    zeros = bytes(1 << 20)
    return MAGIC + b"".join(
        [compressor.compress(operations), *(compressor.compress(zeros) for _ in range(400)), compressor.flush()]
    )


def longer(plain: bytes) -> bytes:
    return data(plain) + data(b"x")


STREAMS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "copy of 2^62": (lambda _: opened(b"s/log") + operation(Kind.COPY, 1 << 62), "bytes of its layer"),
    "copy beyond": (lambda _: opened(b"s/log") + operation(Kind.COPY, 14_001), "reads up to byte 14001 of a file that has 14000"),
    "seek to 2^62": (lambda _: opened(b"s/log") + operation(Kind.SEEK, 1 << 62), "of a file that has 14000"),
    "difference of 2^40": (lambda _: opened(b"s/log") + operation(Kind.ADD_DATA, 1 << 40), "bytes of its layer"),
    "data of 2^62": (lambda _: operation(Kind.DATA, 1 << 62), "bytes of its layer"),
    "10 million operations": (lambda _: operation(Kind.DATA, 0) * 10_000_000, "more operations than its layer can need"),
    "10 million files": (lambda _: opened(b"s/log") * 10_000_000, "more operations than its layer can need"),
    "up": (lambda _: opened(b"../s/log"), "is not a regular file of its source"),
    "absolute": (lambda _: opened(b"/etc/passwd"), "is not a regular file of its source"),
    "directory": (lambda _: opened(b"s"), "is not a regular file of its source"),
    "name that is not UTF-8": (lambda _: opened(b"s/\xff"), "is not a regular file of its source"),
    "name with a zero": (lambda _: opened(b"s/log\0"), "is not a regular file of its source"),
    "name of 2^40": (lambda _: operation(Kind.OPEN, 1 << 40), "whose name has 1099511627776 bytes"),
    "no file": (lambda _: operation(Kind.COPY, 1), "before it opens one"),
    "shorter": (lambda plain: data(plain[:-1]), "of its layer"),
    "longer": (longer, "bytes of its layer"),
    "other content": (lambda plain: data(plain.replace(b"a line", b"a lime", 1)), "has the diff ID"),
    "no canonical tar": (lambda plain: data(plain[:100] + b"000755 \0" + plain[108:]), "header"),
}


@pytest.mark.parametrize("case", STREAMS)
def test_a_hostile_stream_is_refused(case: str, tmp_path: Path) -> None:
    operations, reason = STREAMS[case]
    check_refused(DeltaForgery(operations=operations).to_layout(tmp_path / "layout"), reason)


def test_a_stream_that_is_a_bomb_is_refused(tmp_path: Path) -> None:
    forgery = DeltaForgery(operations=lambda _: operation(Kind.DATA, 1 << 30), stream=bomb)
    check_refused(forgery.to_layout(tmp_path / "layout"), "bytes of its layer", ("copy", "verify"))


def layers(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda content: change(content["layers"])


def whole_of(layer: str, **changes: Any) -> dict[str, Any]:
    return {"mediaType": artifact.LAYER, "digest": layer, "size": 10, **changes}


TARGET_LAYER = str(read_bundle(made(NEW)).manifest.layers[0].digest)
MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another type": (setting("artifactType", to="application/x"), "not a bundle"),
    "a subject": (lambda content: content.update(subject=content["config"]), "must not have"),
    "more layers": (layers(lambda found: found.append(found[0])), "names blobs that a delta does not have"),
    "layer twice": (layers(lambda found: found.append(found[2])), "twice"),
    "diff and whole": (layers(lambda found: found.append(whole_of(TARGET_LAYER))), "twice"),
    "70 layers": (
        layers(lambda found: found.extend(whole_of(str(Digest.of(bytes([number])))) for number in range(70))),
        "more than 65 layers",
    ),
    "urls": (layers(lambda found: found[2].update(urls=["http://x"])), "`urls` or `data`"),
    "data": (setting("config", "data", to="e30="), "`urls` or `data`"),
    "another config": (setting("config", "mediaType", to=artifact.CONFIG), "names blobs that a delta does not have"),
    "swapped": (layers(lambda found: found.reverse()), "names blobs that a delta does not have"),
    "metadata of another size": (setting("layers", 1, "size", to=1), "has other metadata than its target"),
    "other metadata": (setting("layers", 1, "digest", to=OTHER), "has other metadata than its target"),
    "whole layer of another bundle": (layers(lambda found: found.append(whole_of(OTHER))), "does not have"),
    "diff of another bundle": (
        setting("layers", 2, "annotations", delta_manifest.LAYER, to=OTHER),
        "which its target",
    ),
    "whole layer of another size": (
        layers(lambda found: found.__setitem__(2, whole_of(TARGET_LAYER))),
        "another size than its target",
    ),
    "another target": (setting("annotations", delta_manifest.TARGET, to=OTHER), "another manifest than that of its target"),
    "no layer at all": (layers(lambda found: found.pop()), "neither the delta nor its source has the layer"),
    "no source": (setting("annotations", delta_manifest.SOURCE, to=...), "digest"),
    "no layers of the source": (setting("annotations", delta_manifest.SOURCE_LAYERS, to=...), "does not describe its source"),
    "other layers of the source": (
        setting("annotations", delta_manifest.SOURCE_LAYERS, to=OTHER),
        "lists other layers than its source",
    ),
    "a command as the name": (setting("annotations", delta_manifest.SOURCE_NAME, to="x; reboot"), "does not describe its source"),
    "its own source": (
        lambda content: content["annotations"].update({delta_manifest.SOURCE: content["annotations"][delta_manifest.TARGET]}),
        "names its target as its source",
    ),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_hostile_manifest_is_refused(case: str, tmp_path: Path) -> None:
    edit, reason = MANIFESTS[case]
    check_refused(DeltaForgery(manifest=edit).to_layout(tmp_path / "layout"), reason)


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (zstandard.compress(bytes(64 << 20)), "bytes"),
        (b"nothing", "is not a zstd frame"),
        (zstandard.compress(b"{}"), "another manifest than that of its target"),
    ],
    ids=["large", "no frame", "other"],
)
def test_a_manifest_of_the_target_that_is_none_is_refused(blob: bytes, reason: str, tmp_path: Path) -> None:
    check_refused(
        DeltaForgery(target_manifest=lambda _: blob).to_layout(tmp_path / "layout"), reason, ("inspect", "verify", "copy")
    )


def layer_of(old: Any, path: Path) -> Path:
    (layer,) = read_bundle(old).manifest.layers
    return path / "blobs" / "sha256" / layer.digest.hex


def copied_weights(plain: bytes) -> bytes:
    """The operations that take the weights from the source."""
    head, tail = plain.split(WEIGHTS)
    return data(head) + opened(b"s/weights") + operation(Kind.COPY, len(WEIGHTS)) + data(tail)


def test_a_source_that_is_damaged_is_not_copied_from(tmp_path: Path) -> None:
    old = made(OLD)

    def damage(path: Path) -> None:
        blob = layer_of(old, path)
        content = bytearray(blob.read_bytes())
        content[len(content) // 2] ^= 1
        blob.write_bytes(content)

    check_refused(DeltaForgery(old, operations=copied_weights, spoil=damage).to_layout(tmp_path / "layout"), "damaged")


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """The frames of the source here are sound, but their content is another one than when the delta was made."""
    old = made(OLD)
    local = LocalStore(LocalReference("old", "1"))
    copy.copy(old, local, RecordingProgress())
    blob = local.blobs / read_bundle(old).manifest.layers[0].digest.hex
    content = blob.read_bytes()
    start = content.rindex(b"\x28\xb5\x2f\xfd", 0, content.index(WEIGHTS[:100]))
    other = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(WEIGHTS[::-1])
    blob.write_bytes(content[:start] + other + content[start + len(other) :])
    reference = DeltaForgery(old, operations=copied_weights, source=False).to_layout(tmp_path / "layout")
    before = stored()
    code, text = run("copy", reference, "taken:1")
    assert (code, "has the diff ID" in text) == (8, True), text
    assert stored() == before
    assert [named.name for named in local.names()] == ["old:1"]


def test_without_its_source_a_delta_names_it(tmp_path: Path) -> None:
    old = made(OLD)
    reference = DeltaForgery(old, source=False).to_layout(tmp_path / "layout")
    code, text = run("copy", reference, "taken:1")
    digest = read_bundle(old).digest
    assert code == 6
    assert f"is a delta from model@{digest}" in text
    assert f"fps-bundle copy REGISTRY/REPOSITORY@{digest} model@{digest}" in text
    assert stored() == []


def days(count: int) -> list[Any]:
    return [made(tree(file("/s/log", b"a line\n" * (1000 + day)))) for day in range(count)]


def test_eight_links_are_read_and_nine_are_not(tmp_path: Path) -> None:
    chain(days(10), tmp_path / "layout")
    check_refused(f"oci:{tmp_path}/layout:9", "more than 8 deltas lead to this bundle")
    code, text = run("copy", f"oci:{tmp_path}/layout:8", "taken:1")
    assert code == 0, text


def test_deltas_in_a_circle_are_refused(tmp_path: Path) -> None:
    first, second = days(2)
    chain([first, second, first], tmp_path / "layout", first=False)
    for name in ("1", "2"):
        check_refused(f"oci:{tmp_path}/layout:{name}", "form a loop")


def test_the_manifest_of_a_delta_is_not_trusted_by_its_name_in_the_index(tmp_path: Path) -> None:
    """Some tools leave the artifact type out of an index."""

    def without_types(path: Path) -> None:
        content = json.loads((path / "index.json").read_bytes())
        for entry in content["manifests"]:
            del entry["artifactType"]
        (path / "index.json").write_text(json.dumps(content))

    reference = DeltaForgery(spoil=without_types).to_layout(tmp_path / "layout")
    assert run("verify", reference)[0] == 0
