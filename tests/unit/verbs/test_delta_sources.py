"""Where a delta finds its source, and what becomes of a layer that this libzstd compresses otherwise than the one that made it."""

from __future__ import annotations

import io
import random
import tarfile
from dataclasses import replace
from pathlib import Path

import applied
import pytest
from bundles import bundle, exports, metadata, pack, parents, verified
from fakes import FakeEngine, MemoryStore, RecordingProgress, Tree, file, image, tree

from bundler.api.delta_sources import SourceFinder
from bundler.api.stores import StoreOptions, look_for_sources_on, open_store
from bundler.bundle import read_bundle
from bundler.errors import IntegrityError, MissingSourceError, OtherCompressionError
from bundler.format import artifact
from bundler.format.compression import LIBZSTD
from bundler.format.compression_mode import Compression
from bundler.format.content import Descriptor
from bundler.format.image import LABEL_DIGEST
from bundler.format.metadata import LayerCompression
from bundler.format.reference import LocalReference
from bundler.ports import Image, Store
from bundler.stores.delta.new import NewDeltaStore
from bundler.stores.delta.store import DeltaStore
from bundler.stores.layout.local import LocalSpool, LocalStore
from bundler.stores.layout.store import LayoutStore
from bundler.verbs import base_image, copy, delta

WEIGHTS = random.Random(1).randbytes(300_000)
OLD = tree(file("/s/weights", WEIGHTS), file("/s/log", b"one\n"))
NEW = tree(file("/s/weights", WEIGHTS[:1000] + b"!" + WEIGHTS[1001:]), file("/s/log", b"one\ntwo\n"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def one(files: Tree, *, told: LayerCompression | None = None, compression: Compression = Compression.AUTO) -> MemoryStore:
    """A store with a bundle, whose metadata may tell of another compression than that of its layers."""
    store = MemoryStore()
    if told is None:
        bundle(store, files)
        return store
    packer, descriptors, layers = pack(store, files, ["/s"], compression=compression)
    told_layers = [layer.model_copy(update={"compression": told}) for layer in layers]
    described = metadata(told_layers, exports=exports(packer), parents=parents(packer))
    data = described.to_bytes()
    manifest = artifact.build(described, Descriptor.of(artifact.CONFIG, data), descriptors)
    store.blobs |= {Descriptor.of(artifact.CONFIG, data).digest: data, manifest.descriptor.digest: manifest.data}
    store.tags["1"] = manifest.descriptor
    return store


def into_layout(old: Store, new: Store, directory: Path) -> DeltaStore:
    """A layout with the delta from one bundle to another; gives the store that reads it."""
    source, target = read_bundle(old), read_bundle(new)
    progress = RecordingProgress()
    with delta.made(target, new, source, old, LocalSpool(), progress) as made:
        content = NewDeltaStore(new, made.made)
        copy.copy(content, LayoutStore(directory / "layout", "1"), progress, target, delta=made.manifest)
    opened = open_store(f"oci:{directory}/layout:1", StoreOptions(progress=progress))
    assert isinstance(opened, DeltaStore)
    return opened


def saved(store: MemoryStore) -> bytes:
    """An image with the layers of a bundle behind one of its base, as ``docker save`` writes it."""
    from bundler.format.layer_reader import decompressed

    found = read_bundle(store)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        layers = [b"not a layer of ours" * 100]
        for blob, layer in zip(found.manifest.layers, found.metadata.layers, strict=True):
            with store.open(blob) as stream, decompressed(stream, layer, "here") as content:
                layers.append(content.read())
        for number, data in enumerate([b"{}", *layers, store.blobs[found.manifest.layers[0].digest]]):
            info = tarfile.TarInfo(f"{number}/layer.tar")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def applied_image(store: MemoryStore) -> Image:
    found = read_bundle(store)
    base = image()
    diff_ids = (*base.diff_ids, *(layer.diff_id for layer in found.metadata.layers))
    config = {"Labels": {LABEL_DIGEST: str(found.digest)}}
    return replace(base, id="sha256:applied", names=("applied:1",), diff_ids=diff_ids, config=config)


def test_without_the_source_its_name_and_digest_are_told(tmp_path: Path) -> None:
    old = one(OLD)
    store = into_layout(old, one(NEW), tmp_path)
    with pytest.raises(MissingSourceError, match="neither in the local store nor beside the delta") as caught:
        verified(store)
    digest = read_bundle(old).digest
    assert str(digest) in caught.value.message
    assert str(digest) in caught.value.command


def test_the_applied_image_of_an_engine_is_a_source(tmp_path: Path) -> None:
    old, new = one(OLD), one(NEW)
    store = into_layout(old, new, tmp_path)
    engine = FakeEngine(held=[image(), applied_image(old)], archives={"sha256:applied": saved(old)})
    look_for_sources_on(engine, store)
    verified(store)
    assert read_bundle(store).digest == read_bundle(new).digest
    with store:
        pass
    assert list((tmp_path / "store" / "blobs" / "sha256").iterdir()) == []


@pytest.mark.parametrize("missing", ["label", "layers", "content"])
def test_an_image_that_is_not_of_the_source_is_none(tmp_path: Path, missing: str) -> None:
    old = one(OLD)
    store = into_layout(old, one(NEW), tmp_path)
    found = applied_image(old)
    if missing == "label":
        found = replace(found, config={"Labels": {LABEL_DIGEST: "sha256:" + "0" * 64}})
    elif missing == "layers":
        found = replace(found, diff_ids=found.diff_ids[:-1])
    archive = saved(one(NEW)) if missing == "content" else saved(old)
    look_for_sources_on(FakeEngine(held=[found], archives={found.id: archive}), store)
    with pytest.raises(MissingSourceError, match="nor applied on the engine"):
        verified(store)


def test_a_layer_that_is_compressed_otherwise_here_is_applied_by_its_diff_id(tmp_path: Path) -> None:
    old, new = one(OLD), one(NEW, told=LayerCompression(mode="none", libzstd="1.5.2"))
    copy.copy(old, LocalStore(LocalReference("model", "old")), RecordingProgress())
    store = into_layout(old, new, tmp_path)
    with pytest.raises(OtherCompressionError, match=r"compressed by libzstd 1\.5\.2"):
        copy.copy(store, LocalStore(LocalReference("model", "new")), RecordingProgress())
    engine, progress, found = FakeEngine(), RecordingProgress(), read_bundle(store)
    base = base_image.find(found.metadata.base, engine, None)
    result = applied.apply(found, store, base, "copy:1", engine, LocalSpool(), progress, dry_run=False)
    assert result.bundle.digest == read_bundle(new).digest
    (loaded,) = engine.loads
    assert loaded.diff_ids[2:] == tuple(layer.diff_id for layer in found.metadata.layers)
    assert any("using it by its diff ID" in note for note in progress.notes)


def test_frames_of_the_source_are_copied_only_as_long_as_they_give_the_right_layer(tmp_path: Path) -> None:
    lines = b"".join(b"line %d of the log\n" % (number * number) for number in range(20_000))
    recorded = LayerCompression(mode="auto", libzstd=LIBZSTD)
    old = one(tree(file("/s/log", lines), file("/s/new", b"one")), told=recorded, compression=Compression.BEST)
    new = one(tree(file("/s/log", lines), file("/s/new", b"two")))
    copy.copy(old, LocalStore(LocalReference("model", "old")), RecordingProgress())
    store, progress = into_layout(old, new, tmp_path), RecordingProgress()
    with pytest.raises(IntegrityError, match="a layer was compressed otherwise than its bundle records"):
        verified(store)
    verified(store)
    store = into_layout(old, new, tmp_path / "again")
    assert copy.copy(store, LocalStore(LocalReference("model", "new")), progress).bundle.digest == read_bundle(new).digest
    assert any("fetching the blob once more" in note for note in progress.notes)


def test_deltas_that_lead_to_each_other_are_refused() -> None:
    source = delta.source_of(read_bundle(one(OLD)), read_bundle(one(OLD)).digest)
    finder = SourceFinder(MemoryStore(), RecordingProgress(), targets=(source.digest,))
    with pytest.raises(IntegrityError, match="form a loop"), finder(source):
        pass


def test_a_long_chain_is_refused() -> None:
    source = delta.source_of(read_bundle(one(OLD)), read_bundle(one(OLD)).digest)
    others = tuple(Descriptor.of("", bytes([number])).digest for number in range(8))
    with (
        pytest.raises(IntegrityError, match="more than 8 deltas"),
        SourceFinder(MemoryStore(), RecordingProgress(), targets=others)(source),
    ):
        pass
