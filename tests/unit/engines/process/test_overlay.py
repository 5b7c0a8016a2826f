"""The layers of a container's overlay, as directories of this host: what they have, and whether they are those of an image."""

from __future__ import annotations

import io
import os
from contextlib import closing
from pathlib import Path

import cgroups
import pytest
from fakes import RecordingProgress, image
from test_layer_files import directory, file, layer

from bundler.engines.process import base_files, mount_table, overlay
from bundler.engines.process.base_files import BaseFiles, StoredImage
from bundler.engines.process.layer_files import LayeredListing
from bundler.engines.process.mount_table import Mount
from bundler.engines.process.overlay import Overlay
from bundler.engines.process.sample_cache import SampleCache
from bundler.errors import BaseMismatchError
from bundler.format.content import Digest
from bundler.ports import PathInfo

TABLE = rb"""
200 180 0:90 / / rw,relatime - overlay overlay rw,lowerdir=/l/b\040c:/l/a,upperdir=/u,workdir=/w
201 200 0:93 / /proc rw - proc proc rw
202 200 254:0 /srv/x\0401 /data\040dir rw,nosuid - ext4 /dev/vda rw,discard
203 200 0:94 / /cache rw - tmpfs tmpfs rw,size=1024k
204 200 0:95 /sub /from-tmpfs rw shared:1 - tmpfs tmpfs rw
205 200 0:96 / /dev/shm rw - tmpfs shm rw
"""


def test_mounts_of_a_container_are_read_as_an_engine_lists_them() -> None:
    table = mount_table.read(TABLE)
    assert mount_table.of_container(table) == {"/data dir": "bind", "/cache": "tmpfs", "/from-tmpfs": "bind"}
    root = mount_table.root(table)
    assert root
    assert root.options == ["rw", "lowerdir=/l/b c:/l/a", "upperdir=/u", "workdir=/w"]


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    """Two layers of an image, and the changes of its container."""
    for path in ("one/etc/hosts", "one/s/a", "one/s/d/x", "one/s/o/x", "two/s/b", "two/s/o/y", "up/s/new", "up/s/a"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("content")
        os.utime(tmp_path / path, (1_600_000_000, 1_600_000_000))
    (tmp_path / "two" / "s" / "l").symlink_to("/etc/passwd")
    return tmp_path


def mount(layers: Path, lowerdir: str = "{0}/two:{0}/one", upper: str = "{0}/up") -> Mount:
    options = [f"lowerdir={lowerdir}".format(layers), f"upperdir={upper}".format(layers)]
    return Mount("/", "/", "overlay", options)


@pytest.mark.parametrize("lowerdir", ["{0}/two:{0}/one", "two:one"])
def test_the_directories_are_found_lowest_first(layers: Path, lowerdir: str) -> None:
    """containerd writes them relative to the directory of its snapshots."""
    upper = layers / "3" / "fs"
    upper.mkdir(parents=True)
    found = overlay.find(mount(layers, lowerdir, str(upper)))
    assert found == Overlay([layers / "one", layers / "two"], upper)


def test_directories_listed_one_by_one_are_found(layers: Path) -> None:
    options = [f"lowerdir+={layers}/two", f"lowerdir+={layers}/one", f"upperdir={layers}/up"]
    assert overlay.find(Mount("/", "/", "overlay", options)) == Overlay([layers / "one", layers / "two"], layers / "up")


def test_a_colon_in_a_name_is_escaped(layers: Path) -> None:
    (layers / "one").rename(layers / "o:ne")
    found = overlay.find(mount(layers, r"{0}/two:{0}/o\:ne"))
    assert found
    assert found.lower[0] == layers / "o:ne"


def test_a_layer_that_the_engine_added_does_not_count(layers: Path) -> None:
    for name in ("dev/console", "etc/hosts", ".dockerenv"):
        (layers / "init" / name).parent.mkdir(parents=True, exist_ok=True)
        (layers / "init" / name).touch()
    found = overlay.find(mount(layers, "{0}/init:{0}/two:{0}/one"))
    assert found
    assert [path.name for path in found.lower] == ["one", "two"]


@pytest.mark.parametrize(
    "root", [None, Mount("/", "/", "ext4", []), Mount("/", "/", "overlay", ["lowerdir=l/A:l/B", "upperdir=x"])]
)
def test_what_cannot_be_seen_is_none(root: Mount | None) -> None:
    assert overlay.find(root) is None


def test_a_missing_directory_is_none(layers: Path) -> None:
    assert overlay.find(mount(layers, "{0}/gone:{0}/one")) is None


@cgroups.needs_root
def test_changes_are_those_of_the_upper_directory(layers: Path) -> None:
    os.mknod(layers / "up" / "s" / "b", 0o020000, os.makedev(0, 0))
    os.mknod(layers / "up" / "s" / "null", 0o020000, os.makedev(1, 3))
    seen = Overlay([layers / "one", layers / "two"], layers / "up")
    assert seen.changes() == {"/s": "changed", "/s/a": "changed", "/s/b": "deleted", "/s/new": "added", "/s/null": "added"}


@cgroups.needs_root
def test_files_are_looked_up_from_the_top_without_following_links(layers: Path) -> None:
    os.mknod(layers / "two" / "s" / "d", 0o020000, os.makedev(0, 0))
    os.setxattr(layers / "two" / "s" / "o", "trusted.overlay.opaque", b"y")
    seen = Overlay([layers / "one", layers / "two"], layers / "up")
    assert seen.look("/s/a") == PathInfo(None, is_directory=False)
    assert seen.look("/s/o") == PathInfo(None, is_directory=True)
    assert seen.look("/s/l") == PathInfo("/etc/passwd", is_directory=False)
    assert seen.look("/s/o/y")
    for gone in ("/s/d", "/s/d/x", "/s/o/x", "/s/l/x", "/none"):
        assert seen.look(gone) is None, gone
    assert seen.look("/s/d/x", 1)
    assert seen.look("/s/b", 1) is None


ONE = layer(directory("s"), file("s/a"), file("s/d/x"))
TWO = layer(file("s/b"))


def stored(*contents: bytes) -> StoredImage:
    def opener(content: bytes) -> base_files.OpenLayer:
        return lambda: closing(io.BytesIO(content))

    base = image(diff_ids=tuple(map(Digest.of, contents)))
    return StoredImage(base, "oci:base:1", [opener(content) for content in contents])


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.usefixtures("cached")
def test_the_layers_of_an_image_are_compared_and_read_once(layers: Path) -> None:
    progress, given = RecordingProgress(), stored(ONE, TWO)
    base = BaseFiles(given, Overlay([layers / "one", layers / "two"], layers / "up"), progress)
    base.check_layers()
    for _ in range(2):
        assert [item.path for item in base.listing(given.image, ["/s"])] == ["/s", "/s/a", "/s/b", "/s/d", "/s/d/x"]
    assert progress.notes == [f"reading layer {number} of 2 of oci:base:1" for number in (1, 2)]
    assert progress.warnings == []


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("again", [False, True])
def test_another_image_is_refused_also_when_its_files_are_known(layers: Path, again: bool) -> None:
    given, seen = stored(ONE, TWO), Overlay([layers / "one", layers / "two"], layers / "up")
    if again:
        list(BaseFiles(given, seen, RecordingProgress()).listing(given.image, ["/s"]))
    (layers / "two" / "s" / "b").write_text("Content")
    os.utime(layers / "two" / "s" / "b", (1_600_000_000, 1_600_000_000))
    with pytest.raises(BaseMismatchError, match="not started from oci:base:1") as failed:
        BaseFiles(given, seen, RecordingProgress()).listing(given.image, ["/s"])
    assert [(it.what, it.found) for it in failed.value.mismatches] == [("layer 2", "/s/b has another content")]


def test_an_image_with_more_layers_is_refused_and_one_with_fewer_is_named(layers: Path) -> None:
    progress, seen = RecordingProgress(), Overlay([layers / "one"], layers / "up")
    with pytest.raises(BaseMismatchError) as failed:
        BaseFiles(stored(ONE, TWO), seen, progress).check_layers()
    assert [(it.what, it.recorded, it.found) for it in failed.value.mismatches] == [("number of layers", "2", "1")]
    BaseFiles(stored(), seen, progress).check_layers()
    assert progress.warnings == [
        "the image of the container has 1 more layer than oci:base:1: what they add outside of the exports is not in the bundle"
    ]


def test_layers_that_cannot_be_seen_are_named() -> None:
    progress = RecordingProgress()
    BaseFiles(stored(ONE), None, progress).check_layers()
    assert progress.warnings == [
        "the container's layers cannot be seen from here: whether it was started from oci:base:1 was not checked"
    ]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: (path.unlink(), path.mkdir()), "is of another type"),
        (lambda path: path.write_text("longer content"), "has another size or time"),
        (lambda path: os.utime(path, (1, 1)), "has another size or time"),
    ],
)
def test_differences_are_named(layers: Path, change: object, difference: str) -> None:
    assert callable(change)
    change(layers / "one" / "s" / "a")
    with closing(LayeredListing([])) as listing:
        expected = listing.add_layer(io.BytesIO(ONE), Digest.of(ONE), "the base")
    assert Overlay([layers / "one"], layers / "up").mismatch(0, expected) == f"/s/a {difference}"


def test_samples_are_kept_and_damaged_ones_are_not_used(tmp_path: Path) -> None:
    cache, diff_id = SampleCache(tmp_path / "samples"), Digest.of(ONE)
    with closing(LayeredListing([])) as listing:
        expected = listing.add_layer(io.BytesIO(ONE), diff_id, "the base")
    assert cache.find(diff_id) is None
    cache.keep(diff_id, expected)
    assert cache.find(diff_id) == expected
    (kept,) = (tmp_path / "samples").iterdir()
    kept.write_text('{"samples": [{"path": "/s"}]}')
    assert cache.find(diff_id) is None
