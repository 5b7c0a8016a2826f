"""The base of an image that no engine makes: where it is found, read from, and why it is refused."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import images
import pytest
from applied import UNCONFIGURED
from applied_to import apply, image_at, of
from bundles import BASE
from fakes import FakeEngine, RecordingProgress, file, tree
from fakes import image as fakes_image

from bundler.api import images as api
from bundler.errors import (
    BaseMismatchError,
    EngineError,
    IntegrityError,
    NotFoundError,
    PrivilegeError,
    StoreError,
)
from bundler.format import artifact, image
from bundler.format.content import Digest
from bundler.format.image_compression import ImageCompression
from bundler.format.metadata import Platform
from bundler.format.reference import RegistryReference, parse
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import apply as applying
from bundler.verbs import base_source
from bundler.verbs.apply_to import ApplyToOptions, ApplyToResult

ARM = Platform(os="linux", architecture="arm64")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def base(home: Path) -> str:
    return images.in_layout(home / "base", images.made())


@pytest.mark.parametrize("docker", [False, True])
def test_the_recorded_platform_is_picked_from_an_index(home: Path, docker: bool) -> None:
    unknown = Platform(os="unknown", architecture="unknown")
    others = [(images.made((b"other",), platform=ARM), ARM), (images.made((b"{}",), platform=unknown), unknown)]
    index_of = images.indexed(*others, (images.made(), BASE.platform), docker=docker)
    result = apply(of(), "oci:new:7", images.in_layout(home / "base", index_of))
    assert result.base
    assert result.base.digest == images.made().digest
    without = images.in_layout(home / "without", images.indexed(*others, docker=docker))
    with pytest.raises(BaseMismatchError, match="has no image for linux/amd64") as caught:
        apply(of(), "oci:new:8", without)
    assert [(it.what, it.recorded, it.found) for it in caught.value.mismatches] == [("platform", "linux/amd64", "linux/arm64")]


def test_another_base_is_refused_with_a_table(home: Path) -> None:
    other = images.in_archive(home / "other.tar", images.made((b"layer 0", b"other"), platform=ARM))
    with pytest.raises(BaseMismatchError, match=r"other.tar:1 is not the base") as caught:
        apply(of(), "oci:new:7", other)
    assert [it.what for it in caught.value.mismatches] == ["platform", "diff ID of layer 2", "chain ID"]
    assert not (home / "new").exists()


def test_a_base_of_the_same_version_gives_the_image_its_settings(home: Path) -> None:
    labels = {artifact.TITLE: "Model", artifact.VERSION: "1.0"}
    ordinary = images.made((b"rebuilt",), settings={"Cmd": ["serve"], "Env": ["A=1"], "User": "me", "Labels": labels, "Tty": None})
    near, progress = images.in_layout(home / "near", ordinary), RecordingProgress()
    with pytest.raises(BaseMismatchError):
        apply(of(), "oci:new:7", near)
    apply(of(), "oci:new:7", near, same_version=True, allow_privileged=True, progress=progress)
    config = image_at("oci:new:7")[1]
    assert (config["config"]["User"], config["config"]["Labels"][image.LABEL_MATCH]) == ("me", "version")
    assert config["config"]["Labels"][image.LABEL_BASE_NAME] == "model:1.0"
    assert any("was not tested" in warning for warning in progress.warnings)
    unlike = images.in_layout(home / "unlike", images.made((b"rebuilt",)))
    with pytest.raises(BaseMismatchError, match=r"is not labelled as Model 1\.0"):
        apply(of(), "oci:new:8", unlike, same_version=True)


def test_a_base_that_is_not_there(home: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        apply(of(), "oci:new:7", "oci:nowhere:1")
    assert caught.value.exit_code == 6
    with pytest.raises(BaseMismatchError, match=r"the base of this bundle, model:1\.0, was not found") as missing:
        apply(of(), "oci:new:7", None)
    assert "--base" in missing.value.hint
    assert not (home / "new").exists()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda ordinary: ordinary.blobs.update({config_of(ordinary): b"{}"}), "damaged|ends after"),
        (lambda ordinary: ordinary.blobs.pop(config_of(ordinary)), "cannot be read"),
        (lambda ordinary: setattr(ordinary, "data", ordinary.data + b" " * (5 << 20)), "longer than"),
        (lambda ordinary: setattr(ordinary, "data", b'{"schemaVersion":2,"manifests":[]}'), "index|no image"),
        (lambda ordinary: setattr(ordinary, "data", b"[" * 200_000), "no valid JSON|nested"),
        (lambda ordinary: setattr(ordinary, "data", drop_layer(ordinary.data)), "lists 2 layers, the manifest 1"),
    ],
    ids=["wrong config", "no config", "manifest bomb", "index as manifest", "nested", "layer missing"],
)
def test_a_damaged_base_is_refused_before_anything_is_written(home: Path, change: Any, match: str) -> None:
    ordinary = images.made()
    change(ordinary)
    with pytest.raises(IntegrityError, match=match) as caught:
        apply(of(), "oci:new:7", images.in_layout(home / "base", ordinary))
    assert caught.value.exit_code == 8
    assert not (home / "new").exists()


def config_of(ordinary: images.OrdinaryImage) -> Digest:
    return Digest.parse(json.loads(ordinary.data)["config"]["digest"])


def drop_layer(data: bytes) -> bytes:
    manifest = json.loads(data)
    return json.dumps({**manifest, "layers": manifest["layers"][:1]}).encode()


def test_a_truncated_layer_of_the_base_leaves_no_name(home: Path, base: str) -> None:
    layer = next(path for path in (home / "base" / "blobs" / "sha256").iterdir() if path.read_bytes()[:2] == b"\x1f\x8b")
    layer.write_bytes(layer.read_bytes()[:-1])
    with pytest.raises(IntegrityError):
        apply(of(), "oci:new:7", base)
    assert json.loads((home / "new" / "index.json").read_text())["manifests"] == []
    assert not list((home / "new").rglob(".fps-bundle-part-*"))


@pytest.mark.parametrize(
    "kind",
    [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/octet-stream",
    ],
)
def test_a_layer_that_is_not_distributed_is_refused(home: Path, kind: str) -> None:
    with pytest.raises(StoreError, match=r"not distributed|no image layer"):
        apply(of(), "oci:new:7", images.in_layout(home / "base", images.made(layer_type=kind)))


def test_privileged_files_are_compared_with_those_of_the_base(home: Path) -> None:
    layers = []
    for members in ({"s/same": 0o4755, "s/gone": 0o4755, "s/other": 0o755}, {"s/.wh.gone": 0o644}):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, mode in members.items():
                info = tarfile.TarInfo(name)
                info.mode, info.uid, info.gid = mode, 1, 2
                archive.addfile(info)
        layers.append(buffer.getvalue())
    diff_ids = tuple(map(Digest.of, layers))
    recorded = BASE.model_copy(update={"diff_ids": diff_ids, "chain_id": image.chain_id(diff_ids)})
    base = images.in_layout(home / "base", images.made(layers))
    setuid = [file(f"/s/{name}", mode=0o4755) for name in ("same", "gone", "other")]
    apply(of(tree(setuid[0]), privileged=("/s/same",), base=recorded), "oci:new:7", base)
    progress = RecordingProgress()
    source = of(tree(*setuid), privileged=tuple(sorted(entry.path for entry, _ in setuid)), base=recorded)
    with pytest.raises(PrivilegeError, match="2 files with more rights"):
        apply(source, "oci:new:8", base, progress=progress)
    assert [warning.split()[0] for warning in progress.warnings if "runs with" in warning] == ["/s/gone", "/s/other"]
    apply(source, "oci:new:8", base, allow_privileged=True)


def test_an_engine_and_a_store_make_the_same_config_on_a_base_of_the_same_version(home: Path) -> None:
    """The name of the base is not a tag of one host, and empty settings, as engines report them, do not count."""
    labels = {artifact.TITLE: "Model", artifact.VERSION: "1.0"}
    settings = {"Cmd": ["serve"], "Env": ["A=1"], "Labels": labels}
    near = images.in_layout(home / "near", images.made((b"rebuilt",), settings=settings))
    reported = {**settings, "Volumes": None, "OnBuild": [], "User": ""}
    held = fakes_image("mirror.example/model:new", diff_ids=(Digest.of(b"rebuilt"),), config=reported)
    engine, source = FakeEngine(held=[held]), of()
    options = applying.ApplyOptions(same_version=True, tag="copy:1")
    on_engine = applying.apply(source, engine, LocalSpool(), RecordingProgress(), admission=UNCONFIGURED, options=options)
    assert apply(source, "oci:new:7", near, same_version=True).config_digest == on_engine.config_digest


def saved(layers: tuple[bytes, ...], names: tuple[str, ...]) -> bytes:
    """An image as an engine saves it: any files, in any order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, layer in zip(names, layers, strict=True):
            info = tarfile.TarInfo(name)
            info.size = len(layer)
            archive.addfile(info, io.BytesIO(layer))
    return buffer.getvalue()


@pytest.mark.parametrize("compression", list(ImageCompression))
def test_the_base_comes_from_an_engine(home: Path, compression: ImageCompression) -> None:
    base = fakes_image()
    content = (b"{}", *reversed(images.BASE_LAYERS))
    engine = FakeEngine(archives={base.id: saved(content, ("x.json", "b/layer.tar", "a/layer.tar"))})
    source, options = of(), ApplyToOptions(compression=compression)

    def run(to: str) -> ApplyToResult:
        return api.apply_to(source, to, base="engine:model:1.0", engine=engine, admission=UNCONFIGURED, options=options)

    result = run("oci:new:7")
    manifest, _, _ = image_at("oci:new:7")
    assert {layer.media_type for layer in manifest.layers} == {compression.media_type}
    assert result.config_digest == apply(source, "oci:other:7", images.in_layout(home / "base", images.made())).config_digest
    assert run("oci:new:7").existed
    assert not list(Path("store/blobs/sha256").iterdir()), "nothing is left in the local store"


def test_an_engine_that_saves_too_few_layers_is_told(home: Path) -> None:
    base = fakes_image()
    engine = FakeEngine(archives={base.id: saved(images.BASE_LAYERS[:1], ("a/layer.tar",))})
    with pytest.raises(EngineError, match="did not save the layer"):
        api.apply_to(of(), "oci:new:7", base="engine:model:1.0", engine=engine, admission=UNCONFIGURED)
    assert not (home / "new").exists()


def test_where_a_base_is_searched() -> None:
    digest = Digest.of(b"x")
    recorded = BASE.model_copy(
        update={
            "names": ("model:1.0", "other.example/team/model:1.0", "localhost/mine:2", "oci:1", "x.tar", "/etc/passwd"),
            "repo_digests": (f"python@{digest}", f"other.example/team/model@{digest}"),
        }
    )
    found = base_source.references(recorded, parse("r.example:5000/new:1"))
    assert list(map(str, found)) == [
        f"r.example:5000/python@{digest}",
        f"r.example:5000/team/model@{digest}",
        "r.example:5000/model:1.0",
        "r.example:5000/team/model:1.0",
        "r.example:5000/mine:2",
        f"docker.io/library/python@{digest}",
        f"other.example/team/model@{digest}",
        "other.example/team/model:1.0",
    ]
    elsewhere = base_source.references(recorded, parse("oci:new:1"))
    assert elsewhere == found[5:]
    many = recorded.model_copy(update={"names": tuple(f"r.example/model:{number}" for number in range(1000))})
    assert len(base_source.references(many, parse("oci:new:1"))) == 20
    assert all(isinstance(it, RegistryReference) for it in found)


def test_a_name_that_lies_about_its_media_type(home: Path) -> None:
    ordinary = images.made()
    ordinary.media_type = artifact.DOCKER_MANIFEST
    with pytest.raises(IntegrityError, match="this is no image manifest"):
        apply(of(), "oci:new:7", images.in_layout(home / "base", ordinary))
