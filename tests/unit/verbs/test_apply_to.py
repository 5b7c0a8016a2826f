"""An image without an engine: into layouts and archives; what is refused, and what is left then."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import images
import pytest
from applied import UNCONFIGURED
from applied_to import apply, image_at, of
from bundles import BASE
from fakes import FakeEngine, RecordingProgress, container, directory, file, tree
from fakes import image as fakes_image

from bundler.bundle import read_bundle
from bundler.errors import (
    BaseMismatchError,
    BusyError,
    IntegrityError,
    PrivilegeError,
    StoreError,
    TrustError,
    UsageError,
)
from bundler.format import artifact, image
from bundler.format.content import Descriptor, Digest
from bundler.format.image_compression import ImageCompression
from bundler.format.metadata import Ancestor, Platform
from bundler.format.oci_image import LAYER_GZIP
from bundler.stores.archive.images import ArchiveImages
from bundler.stores.layout import index
from bundler.stores.layout.images import LayoutImages
from bundler.stores.layout.store import LayoutStore
from bundler.verbs import base_image, copy
from bundler.verbs.apply_to import ApplyToResult

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


def test_descriptors_of_former_images_are_marked_as_images() -> None:
    plain = Descriptor(artifact.MANIFEST, Digest.of(b"x"), 1)
    assert index.as_image(plain).artifact_type == artifact.IMAGE_CONFIG
    assert index.as_image(replace(plain, media_type=artifact.INDEX)).artifact_type == ""
