"""Hostile layers, each under true digests, sizes and counts."""

from __future__ import annotations

import gzip
import struct
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import zstandard
from fakes import directory, file, link

from bundler.format import tar
from bundler.format.tar import Entry, Kind
from hostile.case import Case, layer, setting
from hostile.forge import COMPRESS, FILE, TOP, Member, packed

ZEROS = 64 << 20
MAGIC = b"\x28\xb5\x2f\xfd"
HEADER = 7
"""Bytes of a frame before its first block, for a content of 256 to 65,791 bytes that is told in advance."""


def hard(path: str, target: str, **changes: Any) -> Member:
    entry = replace(FILE[0], path=path, kind=Kind.HARD_LINK, size=0, target=target)
    return replace(entry, **changes), b""


def symlink(path: str, target: str) -> Member:
    return link(path, Kind.SYMLINK, target)


def gone(path: str, **changes: Any) -> Member:
    return replace(tar.whiteout(path), **changes), b""


def instead(*members: Member | bytes) -> Callable[[bytes], bytes]:
    """An archive of other members than the metadata was made for; bytes stand as they are."""
    made = b"".join(member if isinstance(member, bytes) else packed(*member) for member in members)
    return lambda _: made + tar.TRAILER


def raw(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", form: int = tarfile.USTAR_FORMAT, **fields: Any) -> bytes:
    """A member as tarfile writes it, whatever its fields say."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(form) + data + tar.padding(len(data))


def entries() -> Iterator[Case]:
    """Entries in canonical form."""
    sub = directory("/s/d")
    members: dict[str, Sequence[Member]] = {
        "an entry with ..": [TOP, file("/s/../x")],
        "an entry outside": [file("/etc/passwd"), TOP],
        "an entry above": [directory("/etc"), file("/etc/passwd"), TOP],
        "an entry beside an export of a longer name": [TOP, file("/sx")],
        "the root": [file("/"), TOP],
        "an empty part": [TOP, file("/s//x")],
        "a dot": [TOP, file("/s/./x")],
        "a dot that is a symbolic link": [TOP, symlink("/s/.", "/")],
        "a zero in a name": [TOP, file("/s/" + "x" * 100 + "\0y")],
        "a symbolic link, and an entry through it": [TOP, symlink("/s/d", "/"), file("/s/d/x")],
        "a chain of symbolic links": [TOP, symlink("/s/cur", "."), symlink("/s/cur/par", ".."), file("/s/cur/par/x")],
        "a hard link to another tree": [TOP, hard("/s/x", "/etc/shadow")],
        "a hard link with ..": [TOP, FILE, hard("/s/x", "/s/../etc/shadow")],
        "a hard link to a file of the base": [TOP, hard("/s/x", "/s/base")],
        "a hard link to a later entry": [TOP, hard("/s/a", "/s/f"), FILE],
        "a hard link to a directory": [TOP, sub, hard("/s/e", "/s/d")],
        "a hard link to itself": [TOP, hard("/s/x", "/s/x")],
        "a hard link, and an entry through it": [TOP, FILE, hard("/s/g", "/s/f"), file("/s/g/x")],
        "the same name twice": [TOP, FILE, FILE],
        "a file, then a directory of its name": [TOP, FILE, directory("/s/f")],
        "a directory, then a link of its name": [TOP, sub, symlink("/s/d", "/etc")],
        "entries out of order": [TOP, file("/s/z"), FILE],
        "an entry without its directory": [TOP, file("/s/d/x")],
        "an entry below a file": [TOP, FILE, file("/s/f/x")],
        "a character device": [TOP, replaced(file("/s/x", b""), kind=Kind.CHARACTER_DEVICE)],
        "a block device": [TOP, replaced(file("/s/x", b""), kind=Kind.BLOCK_DEVICE)],
        "a FIFO": [TOP, replaced(file("/s/x", b""), kind=Kind.FIFO)],
        "setuid": [TOP, file("/s/f", mode=0o4755)],
        "setgid": [TOP, file("/s/f", mode=0o2755)],
        "a capability": [TOP, file("/s/f", capability=b"\1\0\0\2" + b"\xff" * 16)],
        "a capability of a directory": [directory("/s", capability=b"\1\0\0\2" + b"\xff" * 16)],
        "a hard link that makes its file setuid": [TOP, FILE, hard("/s/x", "/s/f", mode=0o4755)],
        "overlayfs's own attribute": [TOP, directory("/s/d", xattrs=(("user.overlay.opaque", b"y"),))],
        "a whiteout of what is not listed": [TOP, gone("/s/x")],
        "a whiteout outside": [directory("/etc", mtime=0), gone("/etc/passwd"), TOP],
        "an opaque whiteout": [TOP, gone("/s/.wh..opq")],
        "a whiteout of no name": [TOP, gone("/s/")],
        "a whiteout of the directory": [TOP, gone("/s/.")],
        "a whiteout of the directory above": [TOP, gone("/s/..")],
        "aufs's own directory": [TOP, directory("/s/.wh..wh.plnk"), file("/s/.wh..wh.plnk/x")],
        "a whiteout with content": [TOP, (replace(tar.whiteout("/s/x"), size=4), b"data")],
        "a user of a negative number": [TOP, file("/s/f", uid=-1)],
        "a group beyond all numbers": [TOP, file("/s/f", gid=2**32)],
        "a time beyond all file systems": [TOP, file("/s/f", mtime=2**63)],
        "a name of 256 bytes": [TOP, file("/s/" + "x" * 256)],
        "a name of 64 KiB": [TOP, file("/s/" + "x" * (64 << 10))],
        "a symbolic link to 64 KiB": [TOP, symlink("/s/x", "x" * (64 << 10))],
        "a symbolic link to nothing": [TOP, symlink("/s/x", "")],
        "directories 5,000 deep": [TOP, *(directory("/s" + "/d" * depth) for depth in range(1, 5000, 1) if depth < 2100)],
    }
    for name, found in members.items():
        yield layer(name, layers=[found])


def replaced(member: Member, **changes: Any) -> Member:
    return replace(member[0], **changes), member[1]


def claims() -> Iterator[Case]:
    """Layers that are not what the metadata says."""
    setuid = file("/s/f", mode=0o4755, uid=1000)
    removing = {"removed": ("/s/x",)}
    privileged = {"privileged": ("/s/f",)}
    yield layer("a whiteout that is missing", truth=removing)
    yield layer("a removed export that is there", metadata=setting("removed", to=["/s"]))
    yield layer("a removed export that is there, and its whiteout", layers=[[TOP, FILE, gone("/s")]], truth={"removed": ("/s",)})
    yield layer("a removed path that is there", layers=[[TOP, file("/s/x"), gone("/s/x")]], truth=removing)
    yield layer("an entry below a removed path", layers=[[TOP, directory("/s/x"), file("/s/x/y"), gone("/s/x")]], truth=removing)
    yield layer("an entry behind the whiteouts", layers=[[TOP, gone("/s/x"), file("/s/y")]], truth=removing)
    yield layer("the same whiteout twice", layers=[[TOP, gone("/s/x"), gone("/s/x")]], truth=removing)
    yield layer("a privileged file that is missing", truth=privileged)
    yield layer(
        "a hard link that gives a privileged file to root",
        layers=[[TOP, setuid, hard("/s/x", "/s/f", mode=0o4755, uid=0)]],
        truth=privileged,
    )
    yield layer(
        "a parent with other rights", layers=[[directory("/opt", mode=0o777, mtime=0), directory("/opt/s")]], metadata=below_opt
    )
    yield layer("one entry more than the export has", metadata=setting("exports", 0, "entries", to=1))
    yield layer("one byte less than the export has", metadata=setting("exports", 0, "size", to=5))
    yield layer("another kind than the export has", metadata=setting("exports", 0, "kind", to="file"))
    yield layer("one entry more than the layer has", metadata=setting("layers", 0, "entries", to=3))
    yield layer("512 bytes more than the layer has", metadata=setting("layers", 0, "size", to=lambda size: size + 512))
    yield layer("512 bytes less than the layer has", metadata=setting("layers", 0, "size", to=lambda size: size - 512))
    yield layer("another diff ID", metadata=setting("layers", 0, "diffID", to="sha256:" + "a" * 64))
    yield layer("no export in the layer", metadata=setting("layers", 0, "exports", to=[]))
    yield layer(
        "an export that no layer has",
        metadata=setting("exports", to=lambda found: [*found, {**found[0], "path": "/t", "resolved": "/t"}]),
    )


def below_opt(content: dict[str, Any]) -> None:
    content["parents"] = [{"path": "/opt", "mode": 0o755, "uid": 0, "gid": 0}]
    content["exports"] = [
        {"path": "/opt/s", "resolved": "/opt/s", "kind": "directory", "entries": 1, "size": 0, "volume": False},
    ]
    content["layers"][0]["exports"] = ["/opt/s"]


def several() -> Iterator[Case]:
    """Layers that are sound each, and hostile together."""
    bare, sub = directory("/s", mtime=0), directory("/s/d", mtime=0)
    pairs: dict[str, tuple[list[Member], list[Member]]] = {
        "a file in two layers": ([bare, FILE], [TOP, FILE]),
        "a symbolic link over a directory of a lower layer": ([bare, sub, file("/s/d/f")], [TOP, symlink("/s/d", "/etc")]),
        "a file over a directory of a lower layer": ([bare, sub, file("/s/d/f")], [TOP, file("/s/d")]),
        "a directory of other rights in a lower layer": ([bare, sub, file("/s/d/f")], [TOP, directory("/s/d", mode=0o777)]),
        "a directory that only a lower layer has": ([bare, sub, file("/s/d/f")], [TOP, FILE]),
        "a directory with a time in a lower layer": ([TOP, FILE], [TOP]),
        "a symbolic link in a lower layer": ([bare, symlink("/s/d", "/")], [TOP, directory("/s/d"), file("/s/d/x")]),
        "two files in a lower layer": ([bare, FILE, file("/s/g")], [TOP]),
        "a lower layer of no file": ([bare], [TOP]),
        "a whiteout in a lower layer": ([bare, FILE, gone("/s/g")], [TOP]),
        "a hard link to a file of a lower layer": ([bare, FILE], [TOP, hard("/s/g", "/s/f")]),
    }
    for name, layers in pairs.items():
        yield layer(name, layers=layers)


def dialects() -> Iterator[Case]:
    """Archives of more than one meaning."""
    f = raw("s/f", data=b"data", mode=0o644, uid=1, gid=2, mtime=1_600_000_000)
    pax = partial(raw, "././@PaxHeader", tarfile.XHDTYPE)
    hidden = raw("s/hidden", data=b"x")
    for name, members in {
        "GNU's magic": [TOP, raw("s/f", data=b"data", form=tarfile.GNU_FORMAT)],
        "a long name of GNU's": [TOP, raw("././@LongLink", tarfile.GNUTYPE_LONGNAME, b"s/evil\0"), f],
        "a global PAX header": [TOP, raw("././@PaxHeader", tarfile.XGLTYPE, b"13 path=/evil\n"), f],
        "a PAX path that differs from ustar's": [TOP, pax(data=b"17 path=s/another\n"[:17]), f],
        "a PAX size over a ustar size": [TOP, pax(data=b"13 size=1024\n"), raw("s/f", data=b""), hidden],
        "a PAX size of 0 over content": [TOP, pax(data=b"10 size=0\n"), raw("s/f", data=hidden)],
        "two PAX headers": [TOP, pax(data=b"10 uid=5\n\n"[:9]), pax(data=b"9 uid=50\n"), f],
        "a PAX record twice": [TOP, pax(data=b"9 gid=70\n9 gid=80\n"), f],
        "a PAX record of a wrong length": [TOP, pax(data=b"99 path=s/x\n"), f],
        "a PAX record of an unknown key": [TOP, pax(data=b"11 x.y=abc\n"), f],
        "trusted.overlay.opaque": [TOP, pax(data=b"42 SCHILY.xattr.trusted.overlay.opaque=yy\n"), raw("s/d/", tarfile.DIRTYPE)],
        "a PAX number of 5,000 digits": [TOP, pax(data=b"5012 mtime=" + b"9" * 5000 + b"\n"), f],
        "a PAX header of 100 MiB": [TOP, pax(data=b"104857599 x=" + b"y" * (104857599 - 13) + b"\n"), f],
        "GNU's sparse file": [TOP, raw("s/f", tarfile.GNUTYPE_SPARSE, b"", tarfile.GNU_FORMAT)],
        "a sparse file in PAX": [TOP, pax(data=b"22 GNU.sparse.major=1\n27 GNU.sparse.realsize=9999\n"), f],
        "the type V": [TOP, raw("s/f", b"V")],
        "a contiguous file": [TOP, raw("s/f", tarfile.CONTTYPE, b"data")],
        "an absolute name": [TOP, raw("/etc/passwd", data=b"x")],
        "a name with ./": [TOP, raw("./s/f", data=b"data")],
        "a directory without a slash": [TOP, raw("s/d", tarfile.DIRTYPE)],
        "a file with a slash": [TOP, raw("s/f/", data=b"data")],
        "names of user and group": [TOP, raw("s/f", data=b"data", uname="root", gname="root")],
        "a prefix": [TOP, raw("s/" + "p" * 120 + "/f", data=b"data")],
        "content of a directory": [TOP, raw("s/d/", tarfile.DIRTYPE, b"data")],
        "a wrong checksum": [TOP, f[:148] + b"000000\0 " + f[156:]],
        "padding that is not zero": [TOP, f[:-1] + b"x"],
        "a single zero record": [TOP, bytes(512), f],
    }.items():
        yield layer(name, plain=instead(*members))
    yield layer("bytes behind the trailer", plain=lambda data: data + b"x")
    yield layer("zeros behind the trailer", plain=lambda data: data + bytes(512))
    yield layer("an archive behind the trailer", plain=lambda data: data + data)
    yield layer("no trailer", plain=lambda data: data[:-1024])
    yield layer("half a trailer", plain=lambda data: data[:-512])


def streams() -> Iterator[Case]:
    """Streams that are more than some plain zstd frames, or would need more memory or time than there is."""
    skippable = struct.pack("<II", 0x184D2A50, 5) + b"hello"
    plain = zstandard.ZstdCompressor(write_checksum=False)
    zeros = COMPRESS(bytes(ZEROS))
    for name, compress in {
        "gzip": gzip.compress,
        "plain tar": lambda data: data,
        "no bytes": lambda _: b"",
        "no checksum": plain.compress,
        "a wrong checksum": lambda data: COMPRESS(data)[:-1] + b"x",
        "a skippable frame before": lambda data: skippable + COMPRESS(data),
        "a skippable frame behind": lambda data: COMPRESS(data) + skippable,
        "a skippable frame of 1 GiB": lambda data: struct.pack("<II", 0x184D2A50, 1 << 30) + COMPRESS(data),
        "a skippable frame between": lambda data: COMPRESS(data[:512]) + skippable + COMPRESS(data[512:]),
        "one byte behind": lambda data: COMPRESS(data) + b"x",
        "1 MiB of zeros behind": lambda data: COMPRESS(data) + bytes(1 << 20),
        "half a frame": lambda data: COMPRESS(data)[:-20],
        "a frame without its checksum": lambda data: COMPRESS(data)[:-4],
        "one frame more": lambda data: COMPRESS(data) + COMPRESS(b"more"),
        "100,000 empty frames": lambda data: COMPRESS(data) + COMPRESS(b"") * 100_000,
        "100,000 empty blocks": lambda data: windowed(data, 10, bytes(3) * 100_000),
        "a window of 144 MiB": lambda data: windowed(data, 17 << 3 | 1),
        "a window of 2 GiB": lambda data: windowed(data, 21 << 3),
        "a window of 3.75 TiB": lambda data: windowed(data, 255),
        "a content of 2^64 bytes": lambda data: MAGIC + b"\xe4" + b"\xff" * 8 + COMPRESS(data)[HEADER:],
        "a wrong content size": lambda data: wrong_size(COMPRESS(data)),
        "a dictionary": lambda data: MAGIC + b"\x05\x50\x07" + COMPRESS(data)[HEADER:],
        "reserved bits": lambda data: MAGIC + bytes([COMPRESS(data)[4] | 8]) + COMPRESS(data)[5:],
        "100 GB of zeros": lambda _: zeros * 1500,
    }.items():
        yield layer(f"zstd: {name}", compress=compress)
    big = [[directory("/s", mtime=0), file(f"/s/{number}")] for number in range(9)]
    yield layer("zstd: 100 GB of zeros behind nine layers", layers=[*big, [TOP]], compress=lambda _: zeros * 1500)
    huge = replaced(file("/s/f", b""), size=100 << 30)
    yield layer("a file of 100 GiB with no content", layers=[[TOP, huge]])


def windowed(data: bytes, window: int, blocks: bytes = b"") -> bytes:
    """A frame that asks for a window (RFC 8878, section 3.1.1.1.2), and does not say how long its content is."""
    return MAGIC + bytes([4, window]) + blocks + COMPRESS(data)[HEADER:]


def wrong_size(data: bytes) -> bytes:
    """One byte more than a frame of 256 bytes to 64 KiB really holds."""
    (size,) = struct.unpack_from("<H", data, 5)
    return data[:5] + struct.pack("<H", size + 1) + data[7:]


def many() -> Iterator[Case]:
    """As many entries as fit into the time: sound, but for the last one."""
    found = [TOP, *(replaced(file(f"/s/{number:06}", b""), mtime=0) for number in range(20_000))]
    yield layer("20,000 files, the first one once more", layers=[[*found, found[1]]])


def truths() -> Iterator[Case]:
    f = Entry("/s/f", Kind.FILE, 0o644, 1, 2, 1_600_000_000, 4)
    yield layer("sound: members of our own form", sound=True, plain=instead(TOP, (f, b"data")))
    yield layer("sound: the largest window", sound=True, compress=lambda data: windowed(data, 17 << 3))
    yield layer("sound: several frames", sound=True, compress=lambda data: COMPRESS(data[:700]) + COMPRESS(data[700:]))
    yield layer("sound: links", sound=True, layers=[[TOP, FILE, hard("/s/g", "/s/f"), symlink("/s/h", "/etc/passwd")]])
