"""The paths that layers on top of each other have, as a container of the image would have them."""

from __future__ import annotations

import io
import tarfile
from contextlib import closing

import pytest

from bundler.engines.process import layer_files
from bundler.engines.process.layer_files import LayeredListing, Sample
from bundler.errors import IntegrityError
from bundler.format import paths
from bundler.format.content import Digest
from bundler.format.tar import Kind

TIME = 1_600_000_000


def file(name: str, data: bytes = b"content") -> tuple[tarfile.TarInfo, bytes]:
    info, _ = special(name, tarfile.REGTYPE)
    info.size = len(data)
    return info, data


def directory(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return special(name, tarfile.DIRTYPE)


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mtime = kind, target, TIME
    return info, b""


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def listed(*layers: bytes, exports: tuple[str, ...] = ("/s",)) -> dict[str, Kind]:
    with closing(LayeredListing(exports)) as listing:
        for content in layers:
            listing.add_layer(io.BytesIO(content), Digest.of(content), "the base")
        found = [(item.path, item.kind) for item in listing.entries()]
    assert [path for path, _ in found] == sorted((path for path, _ in found), key=paths.sort_key)
    return dict(found)


def samples(content: bytes) -> list[Sample]:
    with closing(LayeredListing(["/s"])) as listing:
        return listing.add_layer(io.BytesIO(content), Digest.of(content), "the base")


BELOW = layer(directory("s"), file("s/a"), directory("s/d"), file("s/d/x"), file("s/d.e"), file("other/y"))


def test_what_is_at_and_below_the_exports_is_listed_in_walking_order() -> None:
    assert list(listed(BELOW)) == ["/s", "/s/a", "/s/d", "/s/d/x", "/s/d.e"]
    assert list(listed(BELOW, exports=("/other", "/s/d"))) == ["/other", "/other/y", "/s/d", "/s/d/x"]
    assert listed(BELOW, exports=("/none",)) == {}


def test_directories_without_an_entry_are_listed_too() -> None:
    assert listed(layer(file("./s/deep/er/file"))) == {
        "/s": Kind.DIRECTORY,
        "/s/deep": Kind.DIRECTORY,
        "/s/deep/er": Kind.DIRECTORY,
        "/s/deep/er/file": Kind.FILE,
    }


@pytest.mark.parametrize(
    ("above", "left"),
    [
        ([file("s/.wh.a")], ["/s", "/s/d", "/s/d/x", "/s/d.e"]),
        ([file("s/.wh.d")], ["/s", "/s/a", "/s/d.e"]),
        ([file(".wh.s")], []),
        ([file("s/d/.wh..wh..opq")], ["/s", "/s/a", "/s/d", "/s/d.e"]),
        ([file("s/d/new"), file("s/d/.wh..wh..opq")], ["/s", "/s/a", "/s/d", "/s/d/new", "/s/d.e"]),
        ([file(".wh..wh..opq"), file("s/new")], ["/s", "/s/new"]),
        ([file("s/.wh.d"), directory("s/d"), file("s/d/new")], ["/s", "/s/a", "/s/d", "/s/d/new", "/s/d.e"]),
        ([file("s/d")], ["/s", "/s/a", "/s/d", "/s/d.e"]),
        ([special("s", tarfile.SYMTYPE, "elsewhere")], ["/s"]),
        ([file(".wh.other"), file("s/d/.wh.none")], ["/s", "/s/a", "/s/d", "/s/d/x", "/s/d.e"]),
    ],
)
def test_upper_layers_remove_and_replace(above: list[tuple[tarfile.TarInfo, bytes]], left: list[str]) -> None:
    assert list(listed(BELOW, layer(*above))) == left


def test_kinds_are_those_of_the_last_entry_and_of_a_links_target() -> None:
    first = layer(special("s/f", tarfile.FIFOTYPE), special("s/l", tarfile.LNKTYPE, "s/f"), special("s/h", tarfile.LNKTYPE, "s/a"))
    second = layer(special("s/a", tarfile.SYMTYPE, "x"))
    kinds = listed(BELOW, first, second)
    assert [kinds[f"/s/{name}"] for name in "flha"] == [Kind.FIFO, Kind.FIFO, Kind.HARD_LINK, Kind.SYMLINK]


def test_names_that_are_no_text_are_kept() -> None:
    name = "s/" + b"\xff\xfe".decode("utf-8", "surrogateescape")
    assert list(listed(layer(file(name)))) == ["/s", f"/{name}"]


def test_a_layer_with_another_content_is_refused() -> None:
    with closing(LayeredListing(["/s"])) as listing, pytest.raises(IntegrityError, match="the config of the image says"):
        listing.add_layer(io.BytesIO(BELOW), Digest.of(b"other"), "the base")


@pytest.mark.parametrize("content", [BELOW[:700], b"no tar" * 200])
def test_a_damaged_layer_is_refused(content: bytes) -> None:
    with closing(LayeredListing(["/s"])) as listing, pytest.raises(IntegrityError, match=r"the base: a layer"):
        listing.add_layer(io.BytesIO(content), Digest.of(content[:1]), "the base")


def test_a_layer_with_too_many_entries_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_files.layer_rules, "MAX_ENTRIES", 3)
    with pytest.raises(IntegrityError, match="more than 3 entries"):
        samples(BELOW)


def test_samples_say_what_to_expect_of_a_layer() -> None:
    big = file("s/big", bytes(layer_files.SMALL + 1))
    link = special("s/l", tarfile.SYMTYPE, "x")
    found = samples(layer(big, file("s/a"), link, special("s/h", tarfile.LNKTYPE, "s/a"), file("s/gone"), file("s/.wh.gone")))
    assert found == [
        Sample("/s/a", Kind.FILE, 7, TIME, Digest.of(b"content").hex),
        Sample("/s/big", Kind.FILE, layer_files.SMALL + 1, TIME),
        Sample("/s/l", Kind.SYMLINK, content="x"),
    ]


def test_samples_are_few_and_always_the_same() -> None:
    members = [file(f"s/{number}") for number in range(3 * layer_files.SAMPLES)]
    found = samples(layer(*members))
    assert len(found) == layer_files.SAMPLES
    assert found == samples(layer(*reversed(members)))
