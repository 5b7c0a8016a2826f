"""Extract on a real directory: what is written, what is refused before anything has a name, and what stays after a fault."""

from __future__ import annotations

import fcntl
import os
import random
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import applied
import disks
import pytest
from bundles import bundle, with_layers
from fakes import FakeSigner, FakeVerifier, MemoryStore, RecordingProgress, Tree, WatchedStore, directory, file, link, tree

from bundler.bundle import read_bundle
from bundler.errors import BundlerError, BusyError, IntegrityError, NoSpaceError, NotFoundError, TrustError, UsageError
from bundler.format.content import Descriptor
from bundler.format.pack import BIG
from bundler.format.tar import Kind
from bundler.format.toc import CHUNK, Table
from bundler.localfs import staging
from bundler.ports import Spool
from bundler.stores.layout.local import LocalSpool
from bundler.trust import signing
from bundler.trust.admission import Admission
from bundler.trust.policy import Policy
from bundler.verbs import extract as verb
from bundler.verbs.extract import ExtractOptions, ExtractResult, Owner

LARGE = random.Random(1).randbytes(2 * CHUNK + 5)
HIDDEN = staging.NAME.decode()
FILES = tree(
    directory("/m", mode=0o750),
    directory("/m/s", mode=0o755),
    directory("/m/s/closed", mode=0o555),
    file("/m/s/closed/in", b"in"),
    directory("/m/s/d", mode=0o2755),
    file("/m/s/d/deep", b"deep", nanoseconds=5),
    directory("/m/s/empty-directory"),
    file("/m/s/empty", b""),
    file("/m/s/holes", bytes(CHUNK) + b"end"),
    file("/m/s/large", LARGE),
    link("/m/s/same", Kind.HARD_LINK, "/m/s/large"),
    link("/m/s/to", Kind.SYMLINK, "/nowhere"),
    file("/m/s/é%", b"unicode"),
    file("/m/single", b"alone"),
)
FILES["/m/s/same"] = replace(FILES["/m/s/large"][0], path="/m/s/same", kind=Kind.HARD_LINK, size=0, target="/m/s/large"), b""
REMOVED = ("/m/s/gone",)


@cache
def _packed() -> MemoryStore:
    store = MemoryStore()
    bundle(store, FILES, tops=("/m/s", "/m/single"), removed=REMOVED)
    return store


@pytest.fixture
def store() -> WatchedStore:
    """A store with the bundle of `FILES`."""
    made = WatchedStore()
    made.blobs |= _packed().blobs
    made.tags |= _packed().tags
    return made


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    return tmp_path / "out"


class Hook(RecordingProgress):
    """Calls a function when a stage begins whose name begins with a text."""

    def __init__(self, stage: str, call: Callable[[], object]) -> None:
        super().__init__()
        self._stage, self._call = stage, call

    def stage(self, text: str, total: int | None = None) -> None:
        super().stage(text, total)
        if text.startswith(self._stage):
            self._call()


def extract(
    store: MemoryStore,
    out: Path,
    *wanted: str,
    progress: RecordingProgress | None = None,
    admission: Admission | None = None,
    **options: Any,
) -> ExtractResult:
    chosen = ExtractOptions(wanted, **options)
    spool: Spool = LocalSpool()
    return verb.extract(
        store, out, spool, progress or RecordingProgress(), admission=admission or applied.UNCONFIGURED, options=chosen
    )


def refused(kind: type[BundlerError], store: MemoryStore, out: Path, *wanted: str, **options: Any) -> BundlerError:
    """The error of a run that changes nothing."""
    before = snapshot(out.parent)
    with pytest.raises(kind) as raised:
        extract(store, out, *wanted, **options)
    assert snapshot(out.parent) == before
    return raised.value


def snapshot(top: Path) -> dict[str, Any]:
    """Everything below a directory, but the local store: kind, mode, time and content by path."""
    found = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if name.split("/")[0] != "store":
            told = path.lstat()
            content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
            found[name] = told.st_mode, told.st_mtime_ns if not path.is_dir() else 0, content
    return found


def check(out: Path, files: Tree, strip: str = "") -> None:
    """The directory has exactly these files, with their attributes."""
    expected = {path.removeprefix(strip): path for path in files if path.startswith(f"{strip}/")}
    assert {f"/{path.relative_to(out)}" for path in out.rglob("*")} == expected.keys()
    for name, path in expected.items():
        entry, data = files[path]
        place = Path(f"{out}{name}")
        told = place.lstat()
        if entry.kind is Kind.SYMLINK:
            assert str(place.readlink()) == entry.target
        elif entry.kind is Kind.DIRECTORY:
            assert stat.S_ISDIR(told.st_mode)
        elif entry.kind is Kind.HARD_LINK:
            assert told.st_ino == Path(f"{out}{entry.target.removeprefix(strip)}").stat().st_ino
        else:
            assert place.read_bytes() == data
        assert entry.kind is Kind.SYMLINK or stat.S_IMODE(told.st_mode) == entry.mode, path
        if path != "/m":  # the metadata has no time of what lies above the exports
            assert told.st_mtime_ns == entry.mtime * 10**9 + entry.nanoseconds, path
        if os.geteuid() == 0:
            assert (told.st_uid, told.st_gid) == (entry.uid, entry.gid), path


def test_everything_is_written_with_its_attributes(store: WatchedStore, out: Path) -> None:
    result = extract(store, out)
    check(out, FILES)
    assert (result.files, result.links, result.directories, result.unchanged) == (7, 2, 5, 0)
    assert (out / "m/s/holes").stat().st_blocks * 512 < CHUNK


def test_bundles_without_tables_give_the_same(store: WatchedStore, out: Path) -> None:
    (layer,) = read_bundle(store).manifest.layers
    table = Table.of(layer)
    assert table
    data = store.blobs[layer.digest][: table.begin]
    replace_layer(store, Descriptor.of(layer.media_type, data), data)
    progress = RecordingProgress()
    extract(store, out, progress=progress)
    check(out, FILES)
    assert "no table" in progress.notes[0]
    assert extract(store, out).is_unchanged


def replace_layer(store: MemoryStore, layer: Descriptor, data: bytes) -> None:
    """Give the bundle of a store another layer."""
    store.blobs[layer.digest] = data
    forged = with_layers(store, [layer]).manifest
    store.blobs[forged.descriptor.digest] = forged.data
    store.tags["1"] = forged.descriptor


def test_an_own_layer_is_written_too(out: Path) -> None:
    files = tree(directory("/s"), file("/s/big", bytes(BIG), alone=True), file("/s/small", b"small"))
    store = MemoryStore()
    bundle(store, files)
    assert len(read_bundle(store).manifest.layers) == 2
    extract(store, out, strip="/s")
    check(out, files, "/s")
    assert extract(store, out, strip="/s").is_unchanged


def test_a_second_run_reads_no_content_and_changes_nothing(store: WatchedStore, out: Path) -> None:
    extract(store, out)
    before, ranges = snapshot(out), len(store.ranges)
    result = extract(store, out)
    assert result.is_unchanged
    assert result.unchanged == 9
    assert snapshot(out) == before
    assert len(store.ranges) == ranges + 1  # the table


def test_a_path_fetches_its_own_frames_alone(store: WatchedStore, out: Path) -> None:
    store.rereadable = False
    store.opened.clear()
    store.ranges.clear()
    extract(store, out, "/m/s/d", strip="/m")
    assert {str(path.relative_to(out)) for path in out.rglob("*")} == {"s", "s/d", "s/d/deep"}
    assert stat.S_IMODE((out / "s").stat().st_mode) == 0o755
    (layer,) = read_bundle(store).manifest.layers
    read = [size for digest, _, size in store.ranges if digest == layer.digest]
    assert layer.digest not in store.opened
    assert len(read) == 2
    assert read[1] < 100


def test_a_hard_link_whose_target_is_not_wanted_becomes_a_file(out: Path) -> None:
    files = tree(
        directory("/s"),
        directory("/s/a"),
        file("/s/a/target", LARGE),
        directory("/s/b"),
        link("/s/b/one", Kind.HARD_LINK, "/s/a/target"),
        link("/s/b/two", Kind.HARD_LINK, "/s/a/target"),
    )
    for path in ("/s/b/one", "/s/b/two"):
        files[path] = replace(files["/s/a/target"][0], path=path, kind=Kind.HARD_LINK, size=0, target="/s/a/target"), b""
    store = MemoryStore()
    bundle(store, files)
    extract(store, out, "/s/b", strip="/s")
    assert {str(path.relative_to(out)) for path in out.rglob("*")} == {"b", "b/one", "b/two"}
    assert (out / "b/one").read_bytes() == LARGE
    assert (out / "b/one").stat().st_ino == (out / "b/two").stat().st_ino
    assert extract(store, out, "/s/b", strip="/s").is_unchanged


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (("/m/s/to",), {"/m/s/to"}),
        (("/m/sin*",), {"/m/single"}),
        (("/m/*/d",), {"/m/s/d/deep"}),
        (("/**/deep", "/m/s/[et]?"), {"/m/s/d/deep", "/m/s/to"}),
        (("/m/**",), {path for path, (entry, _) in FILES.items() if entry.kind is not Kind.DIRECTORY}),
        (("/m/s/%C3%A9%25",), {"/m/s/é%"}),
    ],
)
def test_paths_and_globs(wanted: tuple[str, ...], found: set[str], store: WatchedStore, out: Path) -> None:
    extract(store, out, *wanted)
    assert {f"/{path.relative_to(out)}" for path in out.rglob("*") if path.is_symlink() or not path.is_dir()} == found


@pytest.mark.parametrize(
    ("kind", "wanted", "strip", "says"),
    [
        (NotFoundError, ("/m/s", "/nope", "/m/x*"), "/", "matches '/nope', '/m/x*'"),
        (NotFoundError, ("/m/s/gone",), "/", "--delete"),
        (UsageError, ("m/s",), "/", "not an absolute path"),
        (UsageError, (), "/m/s", "'/m/single' does not lie below '/m/s'"),
        (UsageError, ("/m/single",), "/m/single", "does not lie below"),
        (UsageError, (), "../m", "not an absolute path"),
    ],
)
def test_paths_that_do_not_fit(
    kind: type[BundlerError], wanted: tuple[str, ...], strip: str, says: str, store: WatchedStore, out: Path
) -> None:
    error = refused(kind, store, out, *wanted, strip=strip)
    assert says in f"{error.message} {error.hint}"


def test_other_files_are_replaced_only_on_request(store: WatchedStore, out: Path) -> None:
    extract(store, out)
    for name in ("m/s/d/deep", "m/s/large"):
        (out / name).unlink()
        (out / name).write_bytes(b"mine")
    (out / "m/s/d").chmod(0o700)
    (out / "m/s/mine").touch()
    error = refused(UsageError, store, out)
    assert "3 files" in error.message
    assert "/m/s/large, /m/s/same" in error.message
    assert "--overwrite" in error.hint
    assert extract(store, out, overwrite=True, dry_run=True).overwritten == 3
    assert extract(store, out, overwrite=True).overwritten == 3
    (out / "m/s/mine").unlink()
    os.utime(out / "m/s", ns=(FILES["/m/s"][0].mtime * 10**9,) * 2)
    check(out, FILES)


def test_a_directory_with_files_can_be_left_alone_without_reading_the_bundle(out: Path) -> None:
    """As an init container does it that starts again, while the registry cannot be reached."""
    unreachable = MemoryStore()
    (out / "lost+found").mkdir(parents=True)
    refused(NotFoundError, unreachable, out, if_empty=True)
    (out / "learned").write_text("mine")
    assert extract(unreachable, out, if_empty=True).bundle is None
    assert (out / "learned").read_text() == "mine"


def test_an_interrupted_run_is_completed_although_the_directory_has_files(store: WatchedStore, out: Path) -> None:
    extract(store, out)
    (out / "m/s/d/deep").unlink()
    (out / os.fsdecode(staging.NAME)).mkdir(mode=0o700)
    assert extract(store, out, if_empty=True).files == 1
    assert (out / "m/s/d/deep").read_bytes() == FILES["/m/s/d/deep"][1]


def test_the_same_size_and_time_do_not_make_a_file_the_same(store: WatchedStore, out: Path) -> None:
    extract(store, out)
    place = out / "m/s/d/deep"
    times = place.stat()
    place.write_bytes(b"DEEP")
    os.utime(place, ns=(times.st_mtime_ns, times.st_mtime_ns))
    refused(UsageError, store, out)


def test_existing_directories_stay_as_they_are(store: WatchedStore, out: Path) -> None:
    (out / "m/s/d").mkdir(parents=True, mode=0o700)
    (out / "m/s/d/mine").write_text("mine")
    extract(store, out)
    assert stat.S_IMODE((out / "m/s/d").stat().st_mode) == 0o700
    assert (out / "m/s/d/mine").read_text() == "mine"
    assert (out / "m/s/d/deep").read_bytes() == b"deep"


@pytest.mark.parametrize("place", ["m", "m/s", "m/s/d", "m/s/d/deep", "m/single"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_links_are_never_followed(place: str, overwrite: bool, store: WatchedStore, out: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    is_file = place in ("m/s/d/deep", "m/single")
    (out / place).parent.mkdir(parents=True)
    (out / place).symlink_to(outside / "precious" if is_file else outside)
    if is_file and overwrite:
        extract(store, out, overwrite=True)
        assert not (out / place).is_symlink()
    else:
        refused(UsageError, store, out, overwrite=overwrite)
    assert snapshot(outside) == {"precious": (0o100644, (outside / "precious").stat().st_mtime_ns, b"precious")}


@pytest.mark.parametrize("stage", ["writing", "syncing", "naming"])
def test_a_directory_that_is_swapped_for_a_link_ends_the_run(stage: str, store: WatchedStore, out: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (out / "m/s").mkdir(parents=True)

    def swap() -> None:
        (out / "m/s").rename(tmp_path / "moved")
        (out / "m/s").symlink_to(outside)

    with pytest.raises(BusyError, match="while the bundle was extracted"):
        extract(store, out, progress=Hook(stage, swap))
    assert not list(outside.iterdir())
    assert not list((tmp_path / "moved").iterdir())
    assert not (out / HIDDEN).exists()


def test_a_file_that_appears_is_not_replaced(store: WatchedStore, out: Path) -> None:
    (out / "m").mkdir(parents=True)
    with pytest.raises(BusyError, match="appeared"):
        extract(store, out, progress=Hook("naming", lambda: (out / "m/single").write_text("mine")))
    assert (out / "m/single").read_text() == "mine"
    assert not (out / HIDDEN).exists()


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_directory_and_a_file_never_replace_each_other(overwrite: bool, store: WatchedStore, out: Path) -> None:
    (out / "m/single").mkdir(parents=True)
    (out / "m/s").write_text("mine")
    error = refused(UsageError, store, out, overwrite=overwrite)
    assert error.message.endswith(": /m/s, /m/single")


def test_the_target_must_be_a_directory(store: WatchedStore, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name, says in {
        "file": "not a directory",
        "link": "symbolic link",
        "dangling": "symbolic link",
        "a/b": "does not exist",
    }.items():
        assert says in refused(UsageError, store, tmp_path / name).message
    assert str(tmp_path / "real") in refused(UsageError, store, tmp_path / "link").hint


def test_a_dry_run_writes_nothing(store: WatchedStore, out: Path) -> None:
    result = extract(store, out, dry_run=True)
    assert (result.files, result.size > len(LARGE)) == (7, True)
    assert not out.exists()


def test_what_the_model_deleted_is_removed_on_request(store: WatchedStore, out: Path) -> None:
    extract(store, out)
    (out / "m/s/gone/below").mkdir(parents=True)
    (out / "m/s/gone/below/f").touch()
    assert extract(store, out).is_unchanged
    assert extract(store, out, "/m/single", delete=True).deleted == 0
    assert extract(store, out, delete=True, dry_run=True).deleted == 1
    assert (out / "m/s/gone/below/f").exists()
    assert extract(store, out, "/m/s/gone", delete=True).deleted == 1
    assert not (out / "m/s/gone").exists()
    assert extract(store, out, delete=True).is_unchanged
    assert not [path for path in out.rglob("*") if path.name.startswith((".wh.", HIDDEN))]


def test_a_link_in_place_of_what_was_deleted_is_removed_itself(store: WatchedStore, out: Path, tmp_path: Path) -> None:
    extract(store, out)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/f").touch()
    (out / "m/s/gone").symlink_to(tmp_path / "outside")
    assert extract(store, out, delete=True).deleted == 1
    assert not (out / "m/s/gone").is_symlink()
    assert (tmp_path / "outside/f").exists()


def privileged() -> MemoryStore:
    store = MemoryStore()
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    files = tree(directory("/s"), file("/s/capable", capability=capability), file("/s/suid", mode=0o4755))
    bundle(store, files, privileged=("/s/capable", "/s/suid"))
    return store


def test_privileged_files_need_a_flag(out: Path) -> None:
    store = privileged()
    error = refused(TrustError, store, out)
    assert "/s/capable, /s/suid" in error.message
    assert "--allow-privileged" in error.hint
    result = extract(store, out, allow_privileged=True)
    assert stat.S_IMODE((out / "s/suid").stat().st_mode) == 0o4755
    if os.geteuid() == 0:
        assert os.getxattr(out / "s/capable", "security.capability").hex().startswith("01000002")
    else:
        assert result.skipped_attributes == 1
    assert extract(store, out, allow_privileged=True).is_unchanged


def test_attributes_of_users_are_kept(out: Path) -> None:
    store = MemoryStore()
    bundle(store, tree(directory("/s"), file("/s/f", xattrs=(("user.a", b"1"),))))
    extract(store, out)
    assert os.getxattr(out / "s/f", "user.a") == b"1"
    os.setxattr(out / "s/f", "user.a", b"2")
    refused(UsageError, store, out)


def test_a_time_that_the_file_system_has_not_is_told(out: Path) -> None:
    store, progress = MemoryStore(), RecordingProgress()
    bundle(store, tree(directory("/s"), file("/s/far", mtime=2**40), file("/s/old", mtime=-1)))
    result = extract(store, out, progress=progress)
    kept = (out / "s/far").stat().st_mtime == 2**40
    assert result.skipped_attributes == (0 if kept else 1)
    assert len(progress.warnings) == (1 if kept else 2)
    assert (out / "s/old").stat().st_mtime == -1


def damaged(store: WatchedStore, path: str) -> None:
    """Change one byte in the frames of a file."""
    found = read_bundle(store)
    digest = found.manifest.layers[-1].digest
    place = store.blobs[digest].index(LARGE[CHUNK + 1000 : CHUNK + 1100]) if path == "/m/s/large" else 0
    assert place
    data = bytearray(store.blobs[digest])
    data[place] ^= 1
    store.blobs[digest] = bytes(data)


def test_a_damaged_chunk_leaves_nothing(store: WatchedStore, out: Path) -> None:
    damaged(store, "/m/s/large")
    assert "/m/s/large" in refused(IntegrityError, store, out).message
    extract(store, out, "/m/s/d", "/m/single")  # which has other chunks


def test_a_layer_that_breaks_a_rule_is_refused(out: Path) -> None:
    store = MemoryStore()
    bundle(store, tree(directory("/s"), file("/s/f")), privileged=("/s/f",))
    refused(IntegrityError, store, out)
    refused(IntegrityError, store, out, "/s/f")


def test_frames_that_are_none_are_refused(store: WatchedStore, out: Path) -> None:
    (layer,) = read_bundle(store).manifest.layers
    data = store.blobs[layer.digest].replace(b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfe")
    store.blobs[layer.digest] = data
    refused(IntegrityError, store, out)


def test_leftovers_of_a_killed_run_are_removed(store: WatchedStore, out: Path) -> None:
    (out / HIDDEN / "tree/m").mkdir(parents=True)
    (out / HIDDEN).chmod(0o700)
    (out / HIDDEN / "tree/m/half").touch()
    (out / HIDDEN / "lock").touch()
    extract(store, out)
    check(out, FILES)
    (out / HIDDEN).mkdir(0o700)
    assert extract(store, out).is_unchanged
    assert not (out / HIDDEN).exists()


def test_two_runs_at_once_do_not_meet(store: WatchedStore, out: Path) -> None:
    (out / HIDDEN).mkdir(parents=True)
    (out / HIDDEN).chmod(0o700)
    with (out / HIDDEN / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert refused(BusyError, store, out).exit_code == 12


@pytest.mark.parametrize("spoil", [lambda path: path.symlink_to("/tmp"), lambda path: path.mkdir(0o777) or path.chmod(0o777)])
def test_a_planted_hidden_directory_is_not_used(spoil: Callable[[Path], object], store: WatchedStore, out: Path) -> None:
    out.mkdir()
    spoil(out / HIDDEN)
    assert "private directory" in refused(TrustError, store, out).message


def test_a_run_that_ends_while_it_names_files_is_completed_by_the_next(store: WatchedStore, out: Path) -> None:
    class Interrupt(RecordingProgress):
        left = 4

        def advance(self, count: int) -> None:
            super().advance(count)
            if any(stage.startswith("naming") for stage in self.stages):
                self.left -= 1
                if not self.left:
                    raise KeyboardInterrupt

    (out / "m/s").mkdir(parents=True, mode=0o755)
    with pytest.raises(KeyboardInterrupt):
        extract(store, out, progress=Interrupt())
    there = {str(path.relative_to(out)) for path in out.rglob("*")}
    assert there == {"m", "m/s", "m/s/closed", "m/s/closed/in", "m/s/d", "m/s/d/deep", "m/s/empty", "m/s/empty-directory"}
    result = extract(store, out)
    assert (result.overwritten, result.unchanged) == (0, 3)
    assert (out / "m/s/same").stat().st_ino == (out / "m/s/large").stat().st_ino


def test_a_missing_link_is_made_to_the_file_that_is_there(store: WatchedStore, out: Path) -> None:
    extract(store, out)
    (out / "m/s/same").unlink()
    result = extract(store, out)
    assert (result.links, result.files) == (1, 0)
    assert (out / "m/s/same").stat().st_ino == (out / "m/s/large").stat().st_ino


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with disks.small_disk(tmp_path / "disk", len(LARGE) + (9 << 20)) as path:
        yield path


def test_a_disk_that_is_too_small_gets_nothing(store: WatchedStore, small: Path) -> None:
    (small / "mine").write_bytes(bytes(9 << 20))
    error = refused(NoSpaceError, store, small / "out")
    assert "not enough space" in error.message


def test_a_disk_that_fills_up_meanwhile_gets_nothing(store: WatchedStore, small: Path) -> None:
    fill = Hook("writing", lambda: (small / "mine").write_bytes(bytes(12 << 20)))
    with pytest.raises(NoSpaceError):
        extract(store, small / "out", progress=fill)
    assert [path.name for path in small.iterdir()] == ["mine"]


def test_another_file_system_in_the_directory_is_refused(store: WatchedStore, out: Path) -> None:
    (out / "m").mkdir(parents=True)
    with disks.small_disk(out / "m/s", 64 << 20):
        error = refused(UsageError, store, out)
        assert "another file system" in error.message
        assert error.message.endswith(": /m/s")
        extract(store, out / "m/s", "/m/s", strip="/m/s")
    assert list((out / "m").iterdir()) == [out / "m/s"]


def test_older_bundles_are_refused_by_directory(out: Path, tmp_path: Path) -> None:
    stores = []
    for number in (1, 2):
        store = MemoryStore()
        bundle(store, tree(file("/s/f", b"%d" % number)))
        signing.sign(read_bundle(store), store, FakeSigner("key"), FakeVerifier(), None, lambda _, number=number: number)
        stores.append(store)
    old, new = stores
    policy = Policy(allowed_signers=Path("allowed"))
    admission = Admission.by_policy(policy, FakeVerifier(key="alice"))
    result = extract(new, out, admission=admission)
    assert result.new_signers == ["alice"]
    assert not extract(new, out, admission=admission).new_signers
    error = refused(TrustError, old, out, admission=admission, overwrite=True)
    assert "refusing to downgrade" in error.message
    assert str(out) in error.message
    extract(old, tmp_path / "other", admission=admission)
    allowed = Admission.by_policy(policy, FakeVerifier(key="alice"), allow_downgrade="on purpose")
    assert extract(old, out, admission=allowed, overwrite=True).overwritten == 1
    refused(TrustError, old, tmp_path / "third", admission=Admission.by_policy(policy, FakeVerifier()))


def test_the_owner_can_be_this_user(store: WatchedStore, out: Path) -> None:
    extract(store, out, owner=Owner.me)
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in out.rglob("*")} == {(os.geteuid(), os.getegid())}
    assert extract(store, out, owner=Owner.me).is_unchanged


def test_names_of_the_hidden_directory_are_refused(out: Path) -> None:
    store = MemoryStore()
    bundle(store, tree(directory("/s"), file(f"/s/{HIDDEN}")))
    refused(UsageError, store, out, strip="/s")
