"""What is skipped as already there is sound; what is damaged is named, all of it, and replaced by the next copy."""

from __future__ import annotations

import json
import os
import random
import shutil
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import sshkeys
from disks import breaking_disk, uncached
from fakes import RecordingProgress, directory, file
from hostile.forge import FILE, Forgery
from places import registry_place
from typer.testing import CliRunner, Result

from bundler.bundle import read_bundle
from bundler.cli.main import app
from bundler.format.artifact import REF_NAME
from bundler.format.content import Descriptor, Digest
from bundler.ports import Store
from bundler.stores.archive.split_artifact import SplitTarget
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout import verified_cache
from bundler.verbs import copy

MIB = 1 << 20


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def archive(tmp_path: Path) -> str:
    """A bundle of two layers."""
    big, small = (random.Random(size).randbytes(size) for size in (2 * MIB, 5000))
    layers = [[directory("/s", mtime=0), file("/s/big", big)], [directory("/s"), file("/s/small", small)]]
    return Forgery(layers=layers).to_archive(tmp_path / "sound.tar")


@pytest.fixture
def source(archive: str) -> ArchiveStore:
    return ArchiveStore(Path(archive))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def zero(path: Path, count: int = 4096) -> None:
    """Zero the last bytes of a file, as a bad sector does."""
    with path.open("r+b") as found:
        size = found.seek(0, os.SEEK_END)
        found.seek(-min(size, count), os.SEEK_END)
        found.write(bytes(min(size, count)))


def blob_of(directory: Path, digest: Digest) -> Path:
    return directory / "blobs" / "sha256" / digest.hex


def contents(source: Store) -> list[Descriptor]:
    """The blobs of the bundle: metadata and layers."""
    manifest = read_bundle(source).manifest
    return [manifest.config, *manifest.layers]


def place_of(target: str, store: Path, tmp_path: Path) -> Path:
    return store if target == "model:1" else tmp_path / "layout"


@pytest.mark.parametrize("target", ["model:1", "oci:{}/layout:1"])
@pytest.mark.parametrize("option", ["--verify-written", "--no-verify-written"])
def test_a_damaged_blob_is_replaced_and_told(
    target: str, option: str, archive: str, source: Store, store: Path, tmp_path: Path
) -> None:
    target = target.format(tmp_path)
    assert run("copy", archive, target, option).exit_code == 0
    layer = contents(source)[-1]
    path = blob_of(place_of(target, store, tmp_path), layer.digest)
    zero(path)
    assert run("verify", target).exit_code == 8
    again = run("copy", archive, target, option, "--json")
    assert again.exit_code == 0
    assert str(layer.digest) in again.stderr
    assert "damaged" in again.stderr
    assert json.loads(again.stdout)["sent"] == layer.size
    assert run("verify", target).exit_code == 0


@pytest.mark.parametrize("how", ["link", "directory", "fifo", "short"])
def test_what_stands_in_the_place_of_a_blob_is_no_blob(how: str, archive: str, source: Store, store: Path, tmp_path: Path) -> None:
    run("copy", archive, "model:1")
    path = blob_of(store, contents(source)[-1].digest)
    moved = path.rename(tmp_path / "moved")
    if how == "link":
        path.symlink_to(moved)
    elif how == "directory":
        path.mkdir()
    elif how == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(moved.read_bytes()[:-1])
    again = run("copy", archive, "model:1")
    assert again.exit_code == (5 if how == "directory" else 0)
    assert str(path.name) in again.stderr
    assert run("verify", "model:1").exit_code == (8 if how == "directory" else 0)
    assert Digest.of(moved.read_bytes()) == contents(source)[-1].digest  # never written through the link


def settle(path: Path) -> None:
    """Wait until a change of a file cannot fall into the same step of a clock as the last one."""
    time.sleep(max(0.0, path.stat().st_ctime + verified_cache.SETTLED + 0.1 - time.time()))


def reads(path: Path, digest: Digest, *, medium: bool = False) -> int | None:
    """How many bytes a check reads; None when the file is no longer the blob."""
    counts: list[int] = []
    return sum(counts) if verified_cache.is_sound(path, digest, medium=medium, advance=counts.append) else None


def test_a_file_is_read_once_and_again_when_it_changed(tmp_path: Path) -> None:
    data = os.urandom(MIB)
    path, digest = tmp_path / "blob", Digest.of(data)
    path.write_bytes(data)
    assert reads(path, digest) == MIB
    assert reads(path, digest) == MIB  # it has just been written: another write could have the same times
    settle(path)
    assert reads(path, digest) == MIB
    assert reads(path, digest) == 0
    assert reads(path, Digest.of(b"another")) is None
    assert reads(path, digest, medium=True) == MIB
    found = path.stat()
    zero(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert reads(path, digest) is None
    path.write_bytes(data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert reads(path, digest) == MIB


def test_a_record_that_another_user_could_have_written_does_not_count(tmp_path: Path) -> None:
    data = os.urandom(MIB)
    path, digest = tmp_path / "blob", Digest.of(data)
    path.write_bytes(data)
    settle(path)
    assert reads(path, digest) == MIB
    (record,) = (Path(os.environ["XDG_STATE_HOME"]) / "fps-bundle" / "verified-blobs").iterdir()
    record.chmod(0o666)
    assert reads(path, digest) == MIB
    assert reads(path, digest) == 0


def test_a_bad_sector_of_a_stick_is_found_by_reading_back(archive: str, source: Store, tmp_path: Path) -> None:
    with breaking_disk(tmp_path / "stick", 64 * MIB, tmp_path / "medium") as stick:
        target = f"oci:{stick}/layout:1"
        assert run("copy", archive, target).exit_code == 0
        layer = contents(source)[-1]
        uncached(stick)
        medium = (tmp_path / "medium").read_bytes()
        at = medium.index(blob_of(stick / "layout", layer.digest).read_bytes()[:4096])
        with (tmp_path / "medium").open("r+b") as file:
            file.seek(at)
            file.write(bytes(4096))
            os.fsync(file.fileno())
        uncached(stick)
        again = run("copy", archive, target)
        assert str(layer.digest) in again.stderr
        assert Digest.of(blob_of(stick / "layout", layer.digest).read_bytes()) == layer.digest


def flip_in_archive(path: Path, digests: Sequence[Digest]) -> None:
    """Change the last byte of some blobs of an archive."""
    with tarfile.open(path) as found:
        ends = {Path(it.name).name: it.offset_data + it.size - 1 for it in found}
    data = bytearray(path.read_bytes())
    for digest in digests:
        data[ends[digest.hex]] ^= 1
    path.write_bytes(data)


def in_registry(storage: Path, digest: Digest) -> Path:
    return storage / "docker" / "registry" / "v2" / "blobs" / "sha256" / digest.hex[:2] / digest.hex / "data"


CHOICES = pytest.mark.parametrize("chosen", [(0,), (1, 2), (0, 1, 2)], ids=["metadata", "layers", "all"])


@CHOICES
@pytest.mark.parametrize("target", ["model:1", "oci:{}/layout:1"])
def test_verify_names_all_damaged_blobs_of_a_directory(
    target: str, chosen: tuple[int, ...], archive: str, source: Store, store: Path, tmp_path: Path
) -> None:
    target = target.format(tmp_path)
    run("copy", archive, target)
    blobs = contents(source)
    for number in chosen:
        zero(blob_of(place_of(target, store, tmp_path), blobs[number].digest), 5)
    check_names(run("verify", target), blobs, chosen)


@CHOICES
@pytest.mark.parametrize("piped", [False, True], ids=["file", "pipe"])
def test_verify_names_all_damaged_blobs_of_an_archive(chosen: tuple[int, ...], piped: bool, archive: str, source: Store) -> None:
    blobs = contents(source)
    flip_in_archive(Path(archive), [blobs[number].digest for number in chosen])
    piped_in = Path(archive).read_bytes() if piped else b""
    outcome = CliRunner().invoke(app, ["verify", "-" if piped else archive], input=piped_in)
    check_names(outcome, blobs, chosen)


@CHOICES
def test_verify_names_all_damaged_blobs_of_a_registry(
    chosen: tuple[int, ...], registry: str, registry_storage: Path, source: Store
) -> None:
    place = registry_place(registry, registry_storage)
    copy.copy(source, place.open(), RecordingProgress())
    blobs = contents(source)
    sound = {number: in_registry(registry_storage, blobs[number].digest).read_bytes() for number in chosen}
    for number in chosen:
        zero(in_registry(registry_storage, blobs[number].digest), 5)
    try:
        check_names(run("verify", place.open().where), blobs, chosen)
    finally:
        for number, data in sound.items():  # the tests share the storage
            in_registry(registry_storage, blobs[number].digest).write_bytes(data)


def test_verify_names_the_damaged_parts_of_a_split_bundle_in_a_registry(
    registry: str, registry_storage: Path, source: Store
) -> None:
    place = registry_place(registry, registry_storage)
    copy.copy(source, SplitTarget(place.open(), MIB, RecordingProgress()), RecordingProgress())
    parts = json.loads(place.open().manifest(place.open().resolve()))["layers"]
    digests = [Digest.parse(part["digest"]) for part in parts if part["size"] == MIB]
    sound = {path: path.read_bytes() for path in (in_registry(registry_storage, digest) for digest in digests[:2])}
    for path in sound:
        zero(path, 5)
    outcome = run("verify", place.open().where)
    for path, data in sound.items():  # the tests share the storage
        path.write_bytes(data)
    assert outcome.exit_code == 8
    assert all(str(digest) in outcome.stderr for digest in digests[:2])
    assert not any(str(digest) in outcome.stderr for digest in digests[2:])
    assert not any(str(blob.digest) in outcome.stderr for blob in contents(source))


def test_verify_names_all_damaged_parts_of_files_and_a_copy_replaces_them(archive: str, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    assert run("copy", archive, f"{parts}/x.tar", "--split", "1MiB").exit_code == 0
    for number in ("001", "002"):
        zero(parts / f"x.tar.{number}", 5)
    outcome = run("verify", f"{parts}/x.tar")
    assert outcome.exit_code == 8
    assert "the parts x.tar.001, x.tar.002 are damaged" in outcome.stderr
    assert run("copy", archive, f"{parts}/x.tar", "--split", "1MiB").exit_code == 0
    assert run("verify", f"{parts}/x.tar").exit_code == 0


def check_names(outcome: Result, blobs: list[Descriptor], chosen: tuple[int, ...]) -> None:
    assert outcome.exit_code == 8, outcome.output
    for number, blob in enumerate(blobs):
        assert (str(blob.digest) in outcome.stderr) == (number in chosen), outcome.stderr


def test_a_damaged_signature_is_named_beside_a_damaged_layer(archive: str, source: Store, store: Path, tmp_path: Path) -> None:
    key = sshkeys.key(tmp_path / "alice")
    run("copy", archive, "model:1")
    assert run("sign", "model:1", "--sign-key", str(key.path)).exit_code == 0
    entries = json.loads((store / "index.json").read_bytes())["manifests"]
    (referrer,) = (Digest.parse(it["digest"]) for it in entries if REF_NAME not in it.get("annotations", {}))
    layer = contents(source)[-1].digest
    for digest in (referrer, layer):
        zero(blob_of(store, digest), 5)
    outcome = run("verify", "model:1")
    assert outcome.exit_code == 8
    assert str(referrer) in outcome.stderr
    assert str(layer) in outcome.stderr


def test_hostile_content_with_right_digests_is_refused_for_what_is_wrong_in_it(tmp_path: Path) -> None:
    reference = Forgery(layers=[[directory("/s"), FILE, FILE]]).to_archive(tmp_path / "hostile.tar")
    outcome = run("verify", reference)
    assert outcome.exit_code == 8
    assert "comes twice or out of order" in outcome.stderr


def test_doctor_reads_the_local_store_when_told(archive: str, source: Store, store: Path) -> None:
    assert deep() == []
    run("copy", archive, "model:1")
    assert deep() == []
    damaged, lost = contents(source)[1:3]
    zero(blob_of(store, damaged.digest), 5)
    blob_of(store, lost.digest).unlink()
    assert deep() == [
        f"blob {damaged.digest} is damaged, which is needed by model:1.",
        f"blob {lost.digest} is missing, which is needed by model:1.",
    ]
    run("copy", archive, "model:1")
    assert deep() == []


def deep() -> list[str]:
    """What ``doctor --deep`` finds wrong with the content of the local store."""
    what = "local store's content"
    assert what not in run("doctor", "--json").stdout
    found = [it for it in json.loads(run("doctor", "--deep", "--json").stdout) if it["what"] == what]
    assert found
    assert all(it["hint"] for it in found if not it["ok"])
    return [it["found"] for it in found if not it["ok"]]


@pytest.mark.parametrize("had", ["local", "layout", "archive", "list"])
def test_a_damaged_blob_is_not_left_out_of_a_thin_archive(
    had: str, archive: str, source: Store, store: Path, tmp_path: Path
) -> None:
    layer = contents(source)[-1].digest
    run("copy", archive, "model:1")
    run("copy", archive, f"oci:{tmp_path}/layout:1")
    there = Path(shutil.copy(archive, tmp_path / "there.tar"))
    references = {"local": "model:1", "layout": f"oci:{tmp_path}/layout:1", "archive": str(there), "list": str(tmp_path / "list")}
    assert layer.hex not in left_in_thin(archive, references[had], tmp_path)
    for place in (tmp_path / "layout", store):
        zero(blob_of(place, layer), 5)
    flip_in_archive(there, [layer])
    found = left_in_thin(archive, references[had], tmp_path)
    assert layer.hex in found
    assert contents(source)[1].digest.hex not in found


def left_in_thin(archive: str, had: str, tmp_path: Path) -> set[str]:
    """The blobs that a thin archive holds."""
    (tmp_path / "list").write_text(run("list", "--have").stdout)
    assert run("copy", archive, str(tmp_path / "thin.tar"), "--have", had).exit_code == 0
    with tarfile.open(tmp_path / "thin.tar") as found:
        return {Path(name).name for name in found.getnames()}


def test_prune_deletes_nothing_of_a_bundle_with_a_damaged_blob(archive: str, source: Store, store: Path) -> None:
    run("copy", archive, "model:1")
    zero(blob_of(store, contents(source)[-1].digest), 5)
    assert run("prune").exit_code == 0
    assert all(blob_of(store, blob.digest).exists() for blob in contents(source))


def test_what_comes_through_a_pipe_replaces_a_damaged_blob(archive: str, source: Store, store: Path) -> None:
    run("copy", archive, "model:1")
    layer = contents(source)[-1].digest
    zero(blob_of(store, layer), 5)
    assert CliRunner().invoke(app, ["copy", "-", "other:1"], input=Path(archive).read_bytes()).exit_code == 0
    assert Digest.of(blob_of(store, layer).read_bytes()) == layer


def test_a_dry_run_counts_a_damaged_blob_as_missing(archive: str, source: Store, store: Path) -> None:
    run("copy", archive, "model:1")
    layer = contents(source)[-1]
    zero(blob_of(store, layer.digest), 5)
    planned = json.loads(run("copy", archive, "model:1", "--dry-run", "--json").stdout)
    assert planned["missing"] == [{"digest": str(layer.digest), "size": layer.size}]
