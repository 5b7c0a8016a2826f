"""The tar entries of a layer: one canonical encoding, and a strict reader.

The written form is ustar with PAX records (POSIX.1-2001, pax "ustar Interchange Format") only where
ustar cannot say it. `read` takes what engines send; a layer of a bundle is read with
``canonical=True`` and must consist of exactly the bytes that `encode` gives for its entries, so that
two parsers cannot see two contents in it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from bundler.errors import IntegrityError
from bundler.format import paths
from bundler.streams import BLOCK, Readable, read_exactly

RECORD = 512
_WHAT = "the archive"
TRAILER = bytes(2 * RECORD)
WHITEOUT = ".wh."
"""Prefix of the name of a whiteout (OCI image spec, layer.md, "Whiteouts")."""
OVERLAY_XATTR = "user.overlay."
"""Prefix of the attributes that overlayfs reserves for itself (kernel documentation, overlayfs.rst); they are never state."""
MAX_TRAILER = 16 << 20
"""Most zero bytes behind the end of an engine's archive; tar pads it to whole blocks (``--blocking-factor``)."""
MAX_HEADER = 1 << 20
"""Longest PAX header that is read, in bytes."""

_XATTR = "SCHILY.xattr."
_CAPABILITY = _XATTR + "security.capability"
_MAGIC = b"ustar\x0000"
_SECOND = 1_000_000_000  # in nanoseconds
# The end of every header: no user and group names, as they depend on the packing host, and no devices.
_REST = _MAGIC + bytes(64) + b"%07o\0%07o\0" % (0, 0) + bytes(167)
_SUM_OF_THE_REST = sum(_REST) + 8 * 0x20
_SHORT, _LONG = 8**7, 8**11  # first number that a field of 8 or 12 bytes cannot hold


class Kind(Enum):
    """The type of an entry; the values are the type flags of the header."""

    FILE = b"0"
    HARD_LINK = b"1"
    SYMLINK = b"2"
    CHARACTER_DEVICE = b"3"
    BLOCK_DEVICE = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"
    SOCKET = b"s"  # never in a tar; only a reader of the file system sees one


STATE_KINDS = frozenset({Kind.FILE, Kind.HARD_LINK, Kind.SYMLINK, Kind.DIRECTORY})
"""The kinds that can be state; programs create devices, FIFOs and sockets when they need them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file system object: ``mode`` holds 12 permission bits, ``size`` bytes of content follow.

    ``mtime`` is in whole seconds since 1970, and ``nanoseconds`` come on top; ``target`` is the text of a
    symlink, or the path of the entry that a hard link shares its content with. ``xattrs`` are extended
    attributes of the ``user`` namespace, by name (xattr(7)). Of what is ``alone`` a reader knows that no hard link to it
    will follow.
    """

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    target: str = ""
    capability: bytes = b""
    nanoseconds: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    alone: bool = field(default=False, compare=False)


def encode(entry: Entry) -> bytes:
    """The canonical header blocks of an entry."""
    kind = entry.kind
    name = paths.to_bytes(entry.path[1:] + ("/" if kind is Kind.DIRECTORY else ""))
    target = paths.to_bytes(entry.target[1:] if kind is Kind.HARD_LINK else entry.target)
    records = _records(entry, name, target)
    if not records:
        return _ustar(name, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime, kind.value, target)
    body = b"".join(_pax_record(key.encode(), value) for key, value in records.items())
    header = _ustar(
        name if "path" not in records else _ascii(name),
        entry.mode,
        0 if "uid" in records else entry.uid,
        0 if "gid" in records else entry.gid,
        0 if "size" in records else entry.size,
        0 if "mtime" in records else entry.mtime,
        kind.value,
        target if "linkpath" not in records else _ascii(target),
    )
    return _ustar(b"././@PaxHeader", 0, 0, 0, len(body), 0, b"x", b"") + body + padding(len(body)) + header


def _records(entry: Entry, name: bytes, target: bytes) -> dict[str, bytes]:
    """The PAX records for what a ustar header cannot express, in their order."""
    records: dict[str, bytes] = {}
    if len(name) > 100 or not name.isascii():
        records["path"] = name
    if len(target) > 100 or not target.isascii():
        records["linkpath"] = target
    for key, number, limit in (("uid", entry.uid, _SHORT), ("gid", entry.gid, _SHORT), ("size", entry.size, _LONG)):
        if not 0 <= number < limit:
            records[key] = b"%d" % number
    if entry.nanoseconds or not 0 <= entry.mtime < _LONG:
        records["mtime"] = _decimal(entry.mtime, entry.nanoseconds) if entry.nanoseconds else b"%d" % entry.mtime
    if entry.capability:
        records[_CAPABILITY] = entry.capability
    if entry.xattrs:
        records.update((_XATTR + name, value) for name, value in sorted(entry.xattrs))
    if not (paths.is_utf8(entry.path) and paths.is_utf8(entry.target)):
        return {"hdrcharset": b"BINARY", **records}
    return records


def padding(size: int) -> bytes:
    """The zeros that pad content of ``size`` bytes to whole records."""
    return bytes(-size % RECORD)


def read(stream: Readable, *, canonical: bool = False) -> Iterator[tuple[Entry, Content]]:
    """Walk a tar stream to its very end; each entry's content must be read before the next is asked for, or is skipped.

    Raises `IntegrityError` when the archive ends early, has a header that cannot be trusted, or,
    with ``canonical``, is not byte for byte what `encode` writes.
    """
    reader = _Reader(stream, extended=canonical)
    while True:
        raw, entry = reader.next_entry()
        if entry is None:
            break
        if canonical and encode(entry) != raw:
            raise IntegrityError(f"the layer's entry {paths.encode(entry.path)!r} is not in canonical form")
        content = Content(stream, entry)
        yield entry, content
        content.skip()
    reader.finish(canonical=canonical)


class Content(io.RawIOBase):
    """The content of one entry while a tar is walked: exactly ``entry.size`` bytes."""

    def __init__(self, stream: Readable, entry: Entry) -> None:
        self._stream = stream
        self._entry = entry
        self._left = entry.size
        self._padded = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes, or all that is left; raises `IntegrityError` when the archive ends inside the content."""
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        data = self._stream.read(min(size, self._left)) if self._left and size else b""
        if not data and self._left and size:
            raise IntegrityError(f"the archive ends inside {paths.encode(self._entry.path)!r}")
        self._left -= len(data)
        if not self._left and not self._padded:
            self._padded = True
            if any(read_exactly(self._stream, -self._entry.size % RECORD, _WHAT)):
                raise IntegrityError(f"the padding of {paths.encode(self._entry.path)!r} is not zero")
        return data

    def skip(self) -> None:
        """Read on to the end of the content and its padding."""
        while self._left or not self._padded:
            self.read(BLOCK)


class _Reader:
    """The headers of a tar; with ``extended`` also what only some readers of a file system see of an entry."""

    def __init__(self, stream: Readable, *, extended: bool) -> None:
        self._stream = stream
        self._extended = extended

    def next_entry(self) -> tuple[bytes, Entry | None]:
        """The bytes of the next header with its entry, or with None where the archive ends."""
        block = bytes(read_exactly(self._stream, RECORD, _WHAT))
        if not any(block):
            return block, None
        if block[156:157] != b"x":
            return block, _entry(block, {}, extended=self._extended)
        size = _octal(block, 124, 12)
        if size > MAX_HEADER:
            raise IntegrityError(f"a PAX header is longer than {MAX_HEADER} bytes")
        _check(block)
        body = bytes(read_exactly(self._stream, size + -size % RECORD, _WHAT))
        header = bytes(read_exactly(self._stream, RECORD, _WHAT))
        return block + body + header, _entry(header, _pax_records(body[:size]), extended=self._extended)

    def finish(self, *, canonical: bool) -> None:
        if any(read_exactly(self._stream, RECORD, _WHAT)):
            raise IntegrityError("the archive has a single zero block where two must end it")
        left = 0 if canonical else MAX_TRAILER
        while rest := self._stream.read(BLOCK):
            left -= len(rest)
            if left < 0 or any(rest):
                raise IntegrityError("the archive continues after its end")


def _entry(block: bytes, records: dict[str, bytes], *, extended: bool) -> Entry:
    _check(block)
    flag = block[156:157].replace(b"\0", b"0").replace(b"7", b"0")
    try:
        kind = Kind(flag)
    except ValueError:
        raise IntegrityError(f"an entry is of the type {flag!r}, which is not allowed") from None
    if any(key.startswith("GNU.sparse") for key in records):
        raise IntegrityError("an entry is a sparse file in GNU's encoding, which is not allowed")
    prefix = _text(block, 345, 155)
    name = records.get("path") or (prefix + b"/" if prefix else b"") + _text(block, 0, 100)
    target = records.get("linkpath") or _text(block, 157, 100)
    size = _number(records, "size", _octal(block, 124, 12))
    mtime, nanoseconds = _time(records, _octal(block, 136, 12))
    if size < 0 or (size and kind is not Kind.FILE):
        raise IntegrityError(f"the entry {paths.encode(paths.from_bytes(name))!r} has an impossible size")
    return Entry(
        path="/" + paths.from_bytes(name[:-1] if name.endswith(b"/") else name),
        kind=kind,
        mode=_octal(block, 100, 8) & 0o7777,
        uid=_number(records, "uid", _octal(block, 108, 8)),
        gid=_number(records, "gid", _octal(block, 116, 8)),
        mtime=mtime,
        size=size,
        target=("/" if kind is Kind.HARD_LINK else "") + paths.from_bytes(target) if kind in (Kind.HARD_LINK, Kind.SYMLINK) else "",
        capability=records.get(_CAPABILITY, b""),
        nanoseconds=nanoseconds if extended else 0,
        xattrs=_user_xattrs(records) if extended and records else (),
    )


def whiteout(path: str) -> Entry:
    """The entry that deletes a path of a lower layer."""
    directory, _, name = path.rpartition("/")
    return Entry(path=f"{directory}/{WHITEOUT}{name}", kind=Kind.FILE, mode=0, uid=0, gid=0, mtime=0)


def is_privileged(entry: Entry) -> bool:
    """Whether a file has setuid, setgid or a capability."""
    return bool(entry.mode & 0o6000 or entry.capability)


def is_tellable(name: str, value: bytes) -> bool:
    """Whether an attribute of the ``user`` namespace is state, and a PAX header can express it.

    An empty value means there that the record does not count (POSIX.1-2001, pax, "pax Extended Header").
    """
    plain = name.isascii() and name.isprintable() and "=" not in name
    return bool(value) and plain and len(name) > len("user.") and name.startswith("user.") and not name.startswith(OVERLAY_XATTR)


def reroot(entry: Entry, old: str, new: str) -> Entry:
    """Move an entry, and the target of a hard link, from below ``old`` to below ``new``."""
    moved = replace(entry, path=new + entry.path[len(old) :])
    return replace(moved, target=new + entry.target[len(old) :]) if entry.kind is Kind.HARD_LINK else moved


def _ustar(name: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, flag: bytes, target: bytes) -> bytes:
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime)
    # The checksum counts itself as spaces, and zeros count nothing.
    checksum = _SUM_OF_THE_REST + sum(name) + sum(numbers) + flag[0] + sum(target)
    return b"%b%b%06o\0 %b%b%b" % (name.ljust(100, b"\0"), numbers, checksum, flag, target.ljust(100, b"\0"), _REST)


def _pax_record(key: bytes, value: bytes) -> bytes:
    """``LENGTH KEY=VALUE\\n`` where LENGTH counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def _pax_records(body: bytes) -> dict[str, bytes]:
    records: dict[str, bytes] = {}
    start = 0
    while start < len(body):
        digits = body[start : start + 8].partition(b" ")[0]
        end = start + (int(digits) if digits.isdigit() else 0)
        key, equals, value = body[start + len(digits) + 1 : end].partition(b"=")
        if not equals or not value.endswith(b"\n") or end > len(body):
            raise IntegrityError("a PAX header is malformed")
        if key.decode("ascii", "replace") in records:
            raise IntegrityError(f"a PAX header says {key[:40]!r} twice")
        records[key.decode("ascii", "replace")] = value[:-1]
        start = end
    return records


def _number(records: dict[str, bytes], key: str, default: int) -> int:
    if key not in records:
        return default
    try:
        return int(records[key])
    except ValueError:
        raise IntegrityError(f"a PAX header has no number for {key}") from None


def _time(records: dict[str, bytes], default: int) -> tuple[int, int]:
    """Whole seconds, rounded down, and the nanoseconds on top of them; ``-0.25`` is -1 and 750,000,000."""
    if "mtime" not in records:
        return default, 0
    found = re.fullmatch(rb"(-?\d{1,20})(?:\.(\d*))?", records["mtime"])
    if not found:
        raise IntegrityError("a PAX header has no number for mtime")
    whole, fraction = found.groups(b"")
    seconds, nanoseconds = int(whole), int(fraction[:9].ljust(9, b"0"))
    return (seconds - 1, _SECOND - nanoseconds) if nanoseconds and whole.startswith(b"-") else (seconds, nanoseconds)


def _decimal(seconds: int, nanoseconds: int) -> bytes:
    """What `_time` reads, without zeros at the end."""
    sign = b""
    if seconds < 0:
        sign, seconds, nanoseconds = b"-", -seconds - 1, _SECOND - nanoseconds
    return (b"%b%d.%09d" % (sign, seconds, nanoseconds)).rstrip(b"0")


def _user_xattrs(records: dict[str, bytes]) -> tuple[tuple[str, bytes], ...]:
    return tuple((key.removeprefix(_XATTR), records[key]) for key in sorted(records) if key.startswith(f"{_XATTR}user."))


def _check(block: bytes) -> None:
    if block[257:265] != _MAGIC or _octal(block, 148, 8) != _sum(block) - _sum(block[148:156]) + 8 * 0x20:
        raise IntegrityError("the archive is damaged: a header's checksum is wrong")


def _sum(block: bytes) -> int:
    """Sum the bytes quickly: most of a header is zeros."""
    return sum(block.translate(None, b"\0"))


def _octal(block: bytes, start: int, length: int) -> int:
    text = block[start : start + length].strip(b"\0 ")
    if text.strip(b"01234567"):
        raise IntegrityError("the archive is damaged: a header field is not an octal number")
    return int(text or b"0", 8)


def _text(block: bytes, start: int, length: int) -> bytes:
    return block[start : start + length].partition(b"\0")[0]


def _ascii(name: bytes) -> bytes:
    """The name for tools without PAX where ustar cannot hold it; without a slash at its end, which means a directory."""
    return bytes(byte if byte < 0x80 else 0x3F for byte in name[:100]).rstrip(b"/")
