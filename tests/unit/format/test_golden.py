"""Yesterday's bundles are opened for ever."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from fakes import MemoryStore, RecordingProgress

from bundler.bundle import Bundle, read_bundle
from bundler.errors import IntegrityError, NotFoundError
from bundler.format import image, layer_reader, tar, toc
from bundler.format.content import Digest
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout.store import LayoutStore
from bundler.verbs import copy, verify

DIRECTORY = Path(__file__).parents[2] / "golden"
DIGESTS = {
    "v1.tar": "sha256:020161064b1fa3a9c92a6fd6700e9341d38cebbefefb5d3eda352ba39598d64a",
    "v1-frames.tar": "sha256:c8f4d5baba42a84d2177233a7b126f8261442f5173f919620adda17ebf89c637",
    "v1-cuts.tar": "sha256:e4a49cb96f1150e76d22b8a9e60eefe4bfc3b450daae79695d134914c1232505",
}
CONFIGS = {
    "v1.tar": "sha256:93813d3a6f751935917c74eddd59f28e0ca471cc82dbd7572c9380993c0b1ba3",
    "v1-frames.tar": "sha256:066bb7ac359bd2e657fc113ed12467b1a72218ecf31759fb48b0164f6723bfff",
    "v1-cuts.tar": "sha256:bd1342404efc5e62bfbf3e6df51f3157b9e590dbe6589b36918dc5cfc847e842",
}
"""Digests of the configurations of the images that every host makes of them, which name their bundles."""


def load_make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_make", DIRECTORY / "make.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=DIGESTS)
def path(request: pytest.FixtureRequest) -> Path:
    return DIRECTORY / str(request.param)


@pytest.fixture
def store(path: Path) -> ArchiveStore:
    return ArchiveStore(path)


@pytest.fixture
def golden(store: ArchiveStore) -> Bundle:
    return read_bundle(store)


def test_the_golden_bundle_is_the_one_it_was(golden: Bundle, path: Path, store: ArchiveStore) -> None:
    assert str(golden.digest) == DIGESTS[path.name]
    assert [named.name for named in store.names()] == ["1.0"]


def test_layers_have_tables_since_they_are_made_of_frames(golden: Bundle, path: Path) -> None:
    tables = [toc.Table.of(descriptor) is not None for descriptor in golden.manifest.layers]
    assert tables == ([False, False] if path.name == "v1.tar" else [True, False])  # one name in the last is not UTF-8


def test_all_of_it_verifies(golden: Bundle, store: ArchiveStore) -> None:
    progress = RecordingProgress()
    verify.verify(golden, store, progress)
    assert progress.done == sum(descriptor.size for descriptor in golden.manifest.layers)


def test_it_holds_what_was_put_into_it(golden: Bundle, store: ArchiveStore) -> None:
    make = load_make()
    found: dict[str, tuple[tar.Entry, bytes]] = {}
    for descriptor, described in zip(golden.manifest.layers, golden.metadata.layers, strict=True):
        with store.open(descriptor) as blob, layer_reader.decompressed(blob, described, "golden") as stream:
            found |= {entry.path: (entry, content.read()) for entry, content in tar.read(stream, canonical=True)}
    assert {path: member for path, member in found.items() if path not in ("/opt", "/opt/model/.wh.gone")} == {
        entry.path: (entry, data) for entry, data in make.MEMBERS
    }


def test_the_same_entries_give_the_same_bundle_today(golden: Bundle, tmp_path: Path) -> None:
    today = load_make().make(LayoutStore(tmp_path / "layout", "1.0"))
    assert [described.diff_id for described in today.metadata.layers] == [described.diff_id for described in golden.metadata.layers]
    layers = tuple(layer.model_copy(update={"compression": None}) for layer in today.metadata.layers)  # was not recorded then
    metadata = today.metadata.model_copy(update={"layers": layers})
    assert metadata == golden.metadata
    assert golden.metadata.to_bytes() == metadata.to_bytes()


def test_the_image_made_of_it_is_the_one_it_was(golden: Bundle, path: Path) -> None:
    config = image.build_config(golden.metadata, golden.digest)
    assert json.loads(config)["config"]["Labels"]["mine"] == "yes"
    assert str(Digest.of(config)) == CONFIGS[path.name]


def test_the_file_with_the_extra_cut_holds_the_same_tars_in_other_frames() -> None:
    old, new = (read_bundle(ArchiveStore(DIRECTORY / name)) for name in ("v1-frames.tar", "v1-cuts.tar"))
    assert old.metadata == new.metadata
    assert old.manifest.layers[0].digest != new.manifest.layers[0].digest
    assert old.manifest.layers[1].digest == new.manifest.layers[1].digest


def test_it_can_be_copied_as_it_is(golden: Bundle, store: ArchiveStore) -> None:
    target = MemoryStore()
    copy.copy(store, target, RecordingProgress())
    assert read_bundle(target).digest == golden.digest


def test_a_flip_anywhere_in_the_file_gives_an_error_of_ours_or_the_same_bundle(golden: Bundle, path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    path = tmp_path / "damaged.tar"
    for position in range(0, len(whole), 41):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            found = read_bundle(ArchiveStore(path))
            verify.verify(found, ArchiveStore(path), RecordingProgress())
        except (IntegrityError, NotFoundError):
            continue
        assert found == golden


def test_a_truncated_file_is_refused(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    path = tmp_path / "short.tar"
    for length in range(0, len(whole) - 1024, 113):
        path.write_bytes(whole[:length])
        with pytest.raises(IntegrityError):
            verify.verify(read_bundle(ArchiveStore(path)), ArchiveStore(path), RecordingProgress())


def test_the_golden_is_not_made_anew_by_accident() -> None:
    golden = load_make().GOLDEN
    before = golden.read_bytes()
    run = subprocess.run([sys.executable, DIRECTORY / "make.py"], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "--regenerate" in run.stderr
    assert golden.read_bytes() == before
