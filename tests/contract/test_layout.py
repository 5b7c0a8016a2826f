"""What is special about a layout directory: others write into it too, and anything may lie in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress
from places import files_below

from bundler.bundle import read_bundle
from bundler.errors import IntegrityError, StoreError
from bundler.format import artifact
from bundler.format.content import Digest
from bundler.stores.layout.store import LayoutStore
from bundler.verbs import copy

_IMAGE_INDEX = {
    "mediaType": artifact.INDEX,
    "digest": str(Digest.of(b"index")),
    "size": 5,
    "annotations": {artifact.REF_NAME: "image-of-many-platforms"},
}
_IMAGE = {
    "mediaType": artifact.MANIFEST,
    "digest": str(Digest.of(b"image")),
    "size": 5,
    "platform": {"os": "linux", "architecture": "arm64"},
}


@pytest.fixture
def source() -> MemoryStore:
    store = MemoryStore()
    bundle(store)
    return store


@pytest.mark.parametrize("entry", [_IMAGE_INDEX, _IMAGE], ids=["index", "unnamed image"])
def test_what_other_tools_put_into_a_layout_stays_as_it_is(tmp_path: Path, source: MemoryStore, entry: dict[str, Any]) -> None:
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (tmp_path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry], "annotations": {"mine": "yes"}}))
    copy.copy(source, LayoutStore(tmp_path, "1"), RecordingProgress())
    content = json.loads((tmp_path / "index.json").read_text())
    assert entry in content["manifests"]
    assert content["annotations"] == {"mine": "yes"}
    assert read_bundle(LayoutStore(tmp_path, "1")).digest == source.tags["1"].digest


def test_nothing_is_written_into_a_layout_of_another_version(tmp_path: Path, source: MemoryStore) -> None:
    store = LayoutStore(tmp_path / "layout", "1")
    copy.copy(source, store, RecordingProgress())
    (tmp_path / "layout" / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    before = files_below(tmp_path)
    with pytest.raises(IntegrityError, match="the layout has the version"):
        copy.copy(source, LayoutStore(tmp_path / "layout", "2"), RecordingProgress())
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("kind", ["directory", "FIFO", "symlink", "missing"])
def test_a_blob_that_is_no_file_is_no_blob(tmp_path: Path, source: MemoryStore, kind: str) -> None:
    store = LayoutStore(tmp_path / "layout", "1")
    layer = copy.copy(source, store, RecordingProgress()).bundle.manifest.layers[0]
    path = tmp_path / "layout" / "blobs" / "sha256" / layer.digest.hex
    path.rename(tmp_path / "aside")
    if kind == "directory":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "symlink":
        path.symlink_to(tmp_path / "aside")
    with pytest.raises(IntegrityError), store.open(layer) as stream:
        stream.read(1000)


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path, source: MemoryStore) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match="contains other files, such as"):
        copy.copy(source, LayoutStore(tmp_path, "1"), RecordingProgress())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
