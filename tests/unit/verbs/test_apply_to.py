"""An image without an engine: into layouts and archives, from a base in one of them; what is refused, and what is left then."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import images
import pytest
from applied import UNCONFIGURED
from bundles import BASE, bundle
from fakes import FakeEngine, MemoryStore, RecordingProgress, Tree, container, directory, file, tree
from fakes import image as fakes_image

from bundler.api import images as api
from bundler.api.stores import StoreOptions
from bundler.bundle import read_bundle
from bundler.errors import (
    BaseMismatchError,
    BusyError,
    EngineError,
    IntegrityError,
    NotFoundError,
    PrivilegeError,
    StoreError,
    TrustError,
    UsageError,
)
from bundler.format import artifact, image, oci_image
from bundler.format.content import Descriptor, Digest
from bundler.format.image_compression import ImageCompression
from bundler.format.metadata import Ancestor, Platform
from bundler.format.oci_image import LAYER_GZIP, ImageManifest
from bundler.format.reference import RegistryReference, parse
from bundler.stores.archive.images import ArchiveImages
from bundler.stores.layout import index
from bundler.stores.layout.images import LayoutImages
from bundler.stores.layout.local import LocalSpool
from bundler.stores.layout.store import LayoutStore
from bundler.trust.admission import Admission
from bundler.verbs import apply as applying
from bundler.verbs import base_image, base_source, copy
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


def of(files: Tree | None = None, **changes: Any) -> MemoryStore:
    store = MemoryStore()
    bundle(store, files, **changes)
    return store


def apply(
    source: MemoryStore,
    to: str,
    base: str | None,
    admission: Admission = UNCONFIGURED,
    progress: RecordingProgress | None = None,
    **options: Any,
) -> ApplyToResult:
    return api.apply_to(
        source, to, base=base, admission=admission, options=ApplyToOptions(**options), progress=progress or RecordingProgress()
    )


def image_at(reference: str) -> tuple[ImageManifest, dict[str, Any], list[bytes]]:
    """An image that was written: manifest, config, and the content of its blobs, all verified."""
    store = api.open_images(api.parse_destination(reference), StoreOptions())
    descriptor = store.resolve_image()
    manifest = oci_image.read_manifest(descriptor.media_type, store.manifest(descriptor), reference)
    content = []
    for blob in manifest.blobs:
        with store.open(blob) as stream:
            content.append(b"".join(iter(lambda stream=stream: stream.read(1 << 20), b"")))  # type: ignore[misc]
    return manifest, json.loads(content[-1]), content[:-1]


@pytest.mark.parametrize("to", ["oci:new:7", "oci-archive:new.tar:7"])
@pytest.mark.parametrize("docker", [False, True])
def test_the_image_is_the_base_with_the_layers_of_the_bundle(home: Path, to: str, docker: bool) -> None:
    source, ordinary = of(), images.made(docker=docker)
    found = read_bundle(source)
    result = apply(source, to, images.in_layout(home / "base", ordinary))
    manifest, config, content = image_at(to)
    assert (manifest.descriptor.media_type, manifest.descriptor.digest) == (artifact.MANIFEST, result.digest)
    assert [layer.media_type for layer in manifest.layers] == [LAYER_GZIP, LAYER_GZIP, artifact.LAYER]
    assert [gzip.decompress(layer) for layer in content[:2]] == list(images.BASE_LAYERS)
    assert manifest.layers[2] == found.manifest.layers[0]
    assert result.config_digest == Digest.of(image.build_config(found.metadata, found.digest)) == manifest.config.digest
    assert config["config"]["Labels"][image.LABEL_DIGEST] == str(found.digest)
    assert not result.existed


def test_running_twice_writes_nothing(home: Path, base: str) -> None:
    source = of()
    first = apply(source, "oci:new:7", base)
    before = {path: path.stat().st_mtime_ns for path in (home / "new").rglob("*")}
    second = apply(source, "oci:new:7", base)
    assert (first.existed, second.existed) == (False, True)
    assert (second.digest, second.sent) == (first.digest, 0)
    assert {path: path.stat().st_mtime_ns for path in (home / "new").rglob("*")} == before
    archived = [apply(source, "oci-archive:new.tar:7", base).existed for _ in range(2)]
    assert archived == [False, True]


def test_what_an_image_lost_is_sent_again(home: Path, base: str) -> None:
    source = of()
    first = apply(source, "oci:new:7", base)
    layer = home / "new" / "blobs" / "sha256" / read_bundle(source).manifest.layers[0].digest.hex
    layer.unlink()
    again = apply(source, "oci:new:7", base)
    assert (again.existed, again.digest, layer.exists()) == (False, first.digest, True)


def test_the_tag_of_a_layout_is_the_version_by_default(base: str) -> None:
    assert apply(of(), "oci:new", base).reference == "oci:new:1.0"


def test_a_dry_run_writes_nothing_and_tells_the_digests(home: Path, base: str) -> None:
    planned = apply(of(), "oci:new:7", base, dry_run=True)
    assert not (home / "new").exists()
    real = apply(of(), "oci:new:7", base)
    assert (planned.digest, planned.config_digest) == (real.digest, real.config_digest)


def test_gzip_layers_have_the_same_content_and_the_same_bytes_each_time(base: str) -> None:
    source = of(tree(file("/s/f", bytes(9 << 20))))
    diff_id = read_bundle(source).metadata.layers[0].diff_id
    results = [apply(source, f"oci:{name}:7", base, compression=ImageCompression.gzip) for name in ("one", "two")]
    assert results[0].digest == results[1].digest
    assert results[0].config_digest == apply(source, "oci:zstd:7", base).config_digest
    manifest, _, content = image_at("oci:one:7")
    assert [layer.media_type for layer in manifest.layers] == [LAYER_GZIP] * 3
    assert Digest.of(gzip.decompress(content[2])) == diff_id
    assert content[2][4:8] == bytes(4), "no time in it"
    assert not manifest.layers[2].annotations
    assert not list(Path("store/blobs/sha256").iterdir()), "nothing is left in the local store"


def test_another_compression_is_another_image_under_the_tag(base: str) -> None:
    source = of()
    zstd = apply(source, "oci:new:7", base)
    gzipped = apply(source, "oci:new:7", base, compression=ImageCompression.gzip)
    assert (gzipped.existed, gzipped.digest != zstd.digest, gzipped.config_digest) == (False, True, zstd.config_digest)
    assert apply(source, "oci:new:7", base, compression=ImageCompression.gzip).existed


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


@pytest.mark.parametrize(
    "to", ["model:7", "team/model:7", "-", f"oci:new@{Digest.of(b'')}", f"r.example/x@{Digest.of(b'')}", "oci:", ""]
)
def test_what_is_no_destination(to: str, base: str) -> None:
    with pytest.raises(UsageError) as caught:
        apply(of(), to, base)
    assert caught.value.hint


@pytest.mark.parametrize("base_name", ["model:7", "-", "engine:", ""])
def test_what_is_no_base(base_name: str) -> None:
    with pytest.raises(UsageError) as caught:
        apply(of(), "oci:new:7", base_name)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("to", "options"),
    [
        ("oci:new:7", {"ignore_removed": True}),
        ("oci:new:7", {"state_only": True}),  # with a base
        ("oci-archive:x.tar:7", {"keep_previous": True}),
        (f"oci:new:{'t' * 120}", {"keep_previous": True}),
    ],
)
def test_options_that_do_not_go_together(to: str, options: dict[str, Any], base: str) -> None:
    with pytest.raises(UsageError):
        apply(of(), to, base, **options)


def test_an_image_of_another_tool_is_replaced_with_force_alone(home: Path, base: str) -> None:
    foreign = images.in_layout(home / "new", images.made((b"foreign",)), "7")
    with pytest.raises(UsageError, match="names an image that fps-bundle did not make") as caught:
        apply(of(), foreign, base)
    assert "--force" in caught.value.hint
    apply(of(), foreign, base, force=True)
    assert len(json.loads((home / "new" / "index.json").read_text())["manifests"]) == 1


def test_an_index_of_another_tool_keeps_its_other_names(home: Path, base: str) -> None:
    several = images.in_layout(home / "new", images.indexed((images.made((b"x",)), BASE.platform)), "7")
    with pytest.raises(UsageError, match="names an index of images"):
        apply(of(), several, base)
    result = apply(of(), several, base, force=True, keep_previous=True)
    names = {
        it["annotations"][artifact.REF_NAME]: it["digest"] for it in json.loads((home / "new/index.json").read_text())["manifests"]
    }
    assert names["7"] == str(result.digest)
    assert names.keys() == {"7", "7-previous"}


def test_a_bundle_is_never_replaced(home: Path, base: str) -> None:
    source = of()
    copy.copy(source, LayoutStore(home / "new", "7"), RecordingProgress())
    with pytest.raises(UsageError, match="names a bundle"):
        apply(source, "oci:new:7", base, force=True)
    copied = apply(source, "oci:new:image", base)
    assert read_bundle(LayoutStore(home / "new", "7")).digest == copied.bundle.digest
    assert read_bundle(LayoutStore(home / "new")).digest == copied.bundle.digest, "the only bundle beside an image"
    with pytest.raises(IntegrityError, match="not a bundle"):
        read_bundle(LayoutStore(home / "new", "image"))


def test_an_archive_with_a_bundle_is_never_replaced(home: Path, base: str) -> None:
    from bundler.stores.archive.store import ArchiveStore

    source = of()
    copy.copy(source, ArchiveStore(home / "x.tar", "1"), RecordingProgress())
    for to in ("oci-archive:x.tar:7", "x.tar"):
        with pytest.raises(StoreError, match="contains a bundle"):
            apply(source, to, base, force=True)
    (home / "text.tar").write_text("text")
    with pytest.raises(StoreError, match="is not a bundle archive"):
        apply(source, "text.tar", base, force=True)
    assert (home / "text.tar").read_text() == "text"


def test_tag_previous_keeps_the_image_that_had_the_tag(base: str) -> None:
    first = apply(of(), "oci:new:7", base)
    second = apply(of(tree(file("/s/g"))), "oci:new:7", base, keep_previous=True)
    assert second.previous == "7-previous"
    assert image_at("oci:new:7-previous")[0].descriptor.digest == first.digest
    again = apply(of(tree(file("/s/g"))), "oci:new:7", base, keep_previous=True)
    assert (again.existed, image_at("oci:new:7-previous")[0].descriptor.digest) == (True, first.digest)


def test_the_tag_of_the_previous_image_replaces_no_bundle(home: Path, base: str) -> None:
    source = of()
    copy.copy(source, LayoutStore(home / "new", "7-previous"), RecordingProgress())
    apply(source, "oci:new:7", base)
    with pytest.raises(UsageError, match="oci:new:7-previous names a bundle"):
        apply(of(tree(file("/s/g"))), "oci:new:7", base, keep_previous=True, force=True)


@pytest.mark.parametrize("to", ["oci:new:7", "oci-archive:new.tar:7"])
def test_a_tag_that_moves_meanwhile_is_exit_code_12(base: str, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = LayoutImages if to.startswith("oci:") else ArchiveImages
    upload, raced, racing_now = kind.upload_image, list[ApplyToResult](), list[bool]()

    def racing(store: Any, *, resumes: bool) -> Any:
        if not racing_now:
            racing_now.append(True)
            raced.append(apply(of(tree(file("/s/other"))), to, base))
        return upload(store, resumes=resumes)

    monkeypatch.setattr(kind, "upload_image", racing)
    with pytest.raises(BusyError, match="another process moved this name") as caught:
        apply(of(), to, base)
    assert caught.value.exit_code == 12
    assert image_at(to)[0].descriptor.digest == raced[0].digest


def test_an_image_that_came_from_this_bundle_is_not_replaced_without_a_reason(base: str) -> None:
    old = of()
    digest = read_bundle(old).digest
    new = of(tree(file("/s/new")), lineage=(Ancestor(digest=digest, created="2026-01-02T03:04:05Z"),))
    apply(new, "oci:new:7", base)
    with pytest.raises(TrustError, match="refusing to downgrade: the image at oci:new:7 has the bundle"):
        apply(old, "oci:new:7", base)
    reason = replace(UNCONFIGURED, allow_downgrade="broken")
    apply(old, "oci:new:7", base, reason)
    assert image_at("oci:new:7")[1]["config"]["Labels"][image.LABEL_DOWNGRADE] == "broken"


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


def test_changed_settings_need_a_trusted_signature(base: str) -> None:
    source = of(image={"Cmd": ["other"], "Labels": {artifact.TITLE: "Model"}})
    with pytest.raises(PrivilegeError, match="Cmd"):
        apply(source, "oci:new:7", base)


def test_an_image_of_the_state_alone() -> None:
    source = of()
    result = apply(source, "oci:alone:7", None, state_only=True)
    manifest, config, _ = image_at("oci:alone:7")
    assert manifest.layers == read_bundle(source).manifest.layers
    assert config["config"] == {"Labels": {image.LABEL_DIGEST: str(read_bundle(source).digest)}}
    assert len(config["rootfs"]["diff_ids"]) == 1
    assert result.base is None
    assert apply(source, "oci:alone:7", None, state_only=True).existed


def test_a_bundle_with_deletions_has_no_image_of_the_state_alone() -> None:
    source = of(tree(directory("/s")), removed=("/s/gone",))
    with pytest.raises(UsageError, match="deleted 1 path of its base, such as /s/gone"):
        apply(source, "oci:alone:7", None, state_only=True)
    apply(source, "oci:alone:7", None, state_only=True, ignore_removed=True)


def test_an_image_of_the_state_alone_is_no_source_of_a_push() -> None:
    source = fakes_image("state:1", config={"Labels": {image.LABEL_DIGEST: "sha256:1"}})
    with pytest.raises(BaseMismatchError, match="state of a bundle alone"):
        base_image.of_container(container(), source, None, FakeEngine(), RecordingProgress())


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


def test_descriptors_of_former_images_are_marked_as_images() -> None:
    plain = Descriptor(artifact.MANIFEST, Digest.of(b"x"), 1)
    assert index.as_image(plain).artifact_type == artifact.IMAGE_CONFIG
    assert index.as_image(replace(plain, media_type=artifact.INDEX)).artifact_type == ""
