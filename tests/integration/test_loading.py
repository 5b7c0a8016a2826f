"""The dialects of an image archive: the full one on either engine, and the OCI layout that none of these engines needs."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import applied
import pytest
from fakes import RecordingProgress
from privateengine import ensure
from test_round_trip import STATE_SETUP
from world import MODEL, Host

from bundler.bundle import read_bundle
from bundler.engines.docker import DockerEngine
from bundler.engines.image_loading import ImageLoader, OpenArchive
from bundler.errors import EngineError
from bundler.format import artifact, image, image_archive
from bundler.format.content import Descriptor, Digest
from bundler.format.image_archive import NewImage, NewLayer
from bundler.ports import Image
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import base_image as bases


class FullLoader(ImageLoader):
    def archives(self, *arguments: Any) -> list[OpenArchive]:
        return super().archives(*arguments)[-1:]


class FullWay(DockerEngine):
    """An engine that is given all layers, those of the base too."""

    image_loader = FullLoader


class StumblingLoader(ImageLoader):
    def archives(self, *arguments: Any) -> list[OpenArchive]:
        return [lambda: iter([b"no archive at all"]), super().archives(*arguments)[-1]]


class StumblingWay(DockerEngine):
    """An engine that does not understand the cheap way."""

    image_loader = StumblingLoader


class LyingLoader(ImageLoader):
    def archives(self, image: NewImage, base: Image, name: str) -> list[OpenArchive]:
        other = json.loads(image.config) | {"created": "2001-01-01T00:00:00Z"}
        return super().archives(replace(image, config=json.dumps(other).encode()), base, name)


class LyingWay(DockerEngine):
    """An engine that is given an image with another config than it should have."""

    image_loader = LyingLoader


@pytest.fixture
def archive(here: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of a model with every kind of entry, whose container is left running."""
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    here.run_script("first", ["/srv/state"], STATE_SETUP)
    here.must("push", "first", str(tmp_path / "x.tar"))
    return tmp_path / "x.tar"


@pytest.mark.operation("dialects of an image archive")
def test_the_full_archive_gives_the_same_image(here: Host, there: Host, archive: Path) -> None:
    store, before, source = ArchiveStore(archive), there.images(), here.tree("first", "/srv/state")
    bundle = read_bundle(store)
    for way in (FullWay, StumblingWay):
        engine, progress = way(there.address), RecordingProgress()
        base = bases.find(bundle.metadata.base, engine, None)
        result = applied.apply(bundle, store, base, "full:1", engine, LocalSpool(), progress, dry_run=False)
        assert ("trying again with all layers of the base" in str(progress.warnings)) == (way is StumblingWay)
        expected = there.must("apply", str(archive), "--tag", "full:1", "--json").json
        assert (result.image_id, expected["existed"]) == (expected["imageID"], True), way
        assert there.images() == {*before, result.image_id}, way
        copy = there.api.create_container("full:1", ["x"])["Id"]
        assert there.tree(copy, "/srv/state") == source, way
        there.api.remove_container(copy)
        there.api.remove_image("full:1", force=True)


@pytest.mark.operation("dialects of an image archive")
def test_when_every_dialect_fails_no_image_is_left(there: Host, archive: Path) -> None:
    engine, store = LyingWay(there.address), ArchiveStore(archive)
    before = there.images()
    bundle = read_bundle(store)
    base = bases.find(bundle.metadata.base, engine, None)
    with pytest.raises(EngineError, match="the engine reported that it loaded"):
        applied.apply(bundle, store, base, "full:1", engine, LocalSpool(), RecordingProgress(), dry_run=False)
    assert there.images() == before


def test_the_partial_oci_layout_is_one_but_for_the_bases_layers(here: Host, archive: Path, tmp_path: Path) -> None:
    store = ArchiveStore(archive)
    bundle = read_bundle(store)
    base_layers = saved_layers(here, tmp_path / "base")
    layers = tuple(
        NewLayer(descriptor, described, partial(store.open, descriptor))
        for descriptor, described in zip(bundle.manifest.layers, bundle.metadata.layers, strict=True)
    )
    new = NewImage(image.build_config(bundle.metadata, bundle.digest), tuple(bundle.metadata.base.diff_ids), layers)
    layout = tmp_path / "layout"
    with tarfile.open(fileobj=io.BytesIO(b"".join(image_archive.partial_oci_layout(new, "made:1", base_layers)))) as written:
        assert all(member.isreg() and (member.mode, member.uid, member.gid, member.mtime) == (0o644, 0, 0, 0) for member in written)
        names = written.getnames()
        written.extractall(layout, filter="data")

    def blob(descriptor: dict[str, Any]) -> Path:
        algorithm, _, encoded = descriptor["digest"].partition(":")
        return layout / "blobs" / algorithm / encoded

    # OCI image spec, image-layout.md: "oci-layout file", "index.json file", "Blobs"
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((layout / "index.json").read_bytes())
    assert (index["schemaVersion"], index["mediaType"]) == (2, artifact.INDEX)
    (described,) = index["manifests"]
    assert described["annotations"]["org.opencontainers.image.ref.name"] == "1"
    manifest = json.loads(blob(described).read_bytes())
    assert (manifest["schemaVersion"], manifest["mediaType"]) == (2, described["mediaType"])
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert blob(manifest["config"]).read_bytes() == new.config
    assert [layer["digest"] for layer in manifest["layers"]] == [
        str(layer.digest) for layer in (*base_layers, *bundle.manifest.layers)
    ]
    present = [described, manifest["config"], *manifest["layers"][len(base_layers) :]]
    for descriptor in present:
        data = blob(descriptor).read_bytes()
        assert (len(data), f"sha256:{hashlib.sha256(data).hexdigest()}") == (descriptor["size"], descriptor["digest"])
    expected = {"oci-layout", "index.json", "manifest.json", *(str(blob(item).relative_to(layout)) for item in present)}
    assert sorted(names) == sorted(expected)

    skopeo = ensure("skopeo", "skopeo")
    inspect = [skopeo, "inspect", "--config", "--raw", f"oci:{layout}:1"]
    assert subprocess.run(inspect, capture_output=True, check=True).stdout == new.config
    for layer in base_layers:
        (tmp_path / "base" / layer.digest.hex).rename(layout / "blobs" / "sha256" / layer.digest.hex)
    subprocess.run([skopeo, "copy", "-q", "--preserve-digests", f"oci:{layout}:1", f"dir:{tmp_path / 'copied'}"], check=True)
    assert (tmp_path / "copied" / "manifest.json").read_bytes() == blob(described).read_bytes()


def saved_layers(host: Host, directory: Path) -> list[Descriptor]:
    """The base's layers as plain blobs in a directory, out of ``docker save``."""
    directory.mkdir()
    found = []
    with tarfile.open(fileobj=io.BytesIO(b"".join(host.api.get_image(MODEL)))) as saved:

        def read(name: str) -> bytes:
            file = saved.extractfile(name)
            assert file
            return file.read()

        for name in json.loads(read("manifest.json"))[0]["Layers"]:
            data = read(name)
            (directory / Digest.of(data).hex).write_bytes(data)
            found.append(Descriptor.of(artifact.LAYER_PLAIN, data))
    return found
