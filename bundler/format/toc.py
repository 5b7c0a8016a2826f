"""The table of contents of a layer, in the form of zstd:chunked (containers/storage, docs/containers-storage-zstd-chunked.md).

It stands behind the last zstd frame of a layer's tar, in a skippable frame (RFC 8878, section 3.1.2) that decompressors pass
over, and a footer in another one tells where it begins. Annotations of the layer's descriptor tell the same, with the
table's sha256, so that who trusts a manifest can trust the table without reading the layer.

The part with the tar's headers ("tar-split") is left out: it would need a checksum of its own kind of all content.
Without it containers/storage pulls a layer whole, so the table serves the commands of fps-bundle only.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, cast

import zstandard

from bundler.errors import IntegrityError
from bundler.format import entry_rules, paths
from bundler.format.content import Descriptor, Digest
from bundler.format.tar import Entry, Kind
from bundler.streams import Readable

CHUNK = 4 << 20
"""Bytes of a file that are compressed together; a file is cut only at multiples of it."""
MAX_TABLE = 150 << 20
"""Longest table, in bytes of its JSON; readers of this form accept no longer one. A layer that needs more has no table."""

POSITION = "io.github.containers.zstd-chunked.manifest-position"
CHECKSUM = "io.github.containers.zstd-chunked.manifest-checksum"
SKIPPABLE = b"\x50\x2a\x4d\x18"

_FOOTER = struct.Struct("<7Q8s")
_FOOTER_MAGIC = b"GNUlInUx"
_HEADER = 8  # bytes before the content of a skippable frame
_TAIL = _HEADER + _FOOTER.size
_CRFS = 1
"""The type of the table in zstd:chunked."""
_POSITION = re.compile(r"([1-9]\d{0,18}):([1-9]\d{0,9}):([1-9]\d{0,9}):1")

_TYPES = {Kind.FILE: "reg", Kind.HARD_LINK: "hardlink", Kind.SYMLINK: "symlink", Kind.DIRECTORY: "dir"}
_KINDS = {name: kind for kind, name in _TYPES.items()}
_CAPABILITY = "security.capability"
_BEGIN, _END = b'{"version":1,"entries":[\n', b"\n]}\n"
_CHUNK_LINE = '{"type":"chunk",'
_CHUNK_BEGIN = _CHUNK_LINE.encode()
_PLAIN = re.compile(
    rb'\{"type":"(reg|dir)","name":"([^"\\\x00-\x1f]+)"'
    rb'(?:,"mode":([1-9]\d{0,8}))?(?:,"size":([1-9]\d{0,17}))?(?:,"uid":([1-9]\d{0,17}))?(?:,"gid":([1-9]\d{0,17}))?'
    rb',"modtime":"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d{0,8}[1-9]))?Z"'
    rb'(?:,"digest":"sha256:([0-9a-f]{64})","offset":(0|[1-9]\d{0,17}),"endOffset":([1-9]\d{0,17}))?\}'
)
"""What `_line` writes for most items: those on one line, without a target, attributes, or a name that JSON escapes."""
_MAX_LINE = 2 << 20
"""Most bytes of an entry in a table, with its path, target and attributes in their longest forms."""
_MAX_WINDOW = 8 << 20
_BLOCK = 1 << 16

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode  # some readers do not undo escapes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of a file's content: ``size`` bytes from ``start`` on, in the frame at ``offset`` of the layer's blob."""

    offset: int
    start: int
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Item:
    """An entry with the digest and chunks of its content, which end at ``end`` of the blob; only files have chunks."""

    entry: Entry
    digest: Digest | None = None
    chunks: tuple[Chunk, ...] = ()
    end: int = 0


@dataclass(frozen=True)
class Table:
    """Where in a layer's blob its table is: ``length`` bytes from ``offset`` on, ``size`` when decompressed."""

    offset: int
    length: int
    size: int
    digest: Digest

    @classmethod
    def of(cls, layer: Descriptor) -> Table | None:
        """Read the table's location from a layer's descriptor; raises `IntegrityError` for an impossible one."""
        position, checksum = layer.annotations.get(POSITION), layer.annotations.get(CHECKSUM)
        if position is None and checksum is None:
            return None
        found = _POSITION.fullmatch(position or "")
        if not found:
            raise IntegrityError(f"the layer {layer.digest} has a table of contents at an impossible place: {str(position)[:80]!r}")
        offset, length, size = map(int, found.groups())
        table = cls(offset, length, size, Digest.parse(checksum))
        if table.size > MAX_TABLE or table.offset < _HEADER or table.offset + table.length + _TAIL != layer.size:
            raise IntegrityError(f"the layer {layer.digest} has a table of contents at an impossible place: {position!r}")
        return table

    @property
    def begin(self) -> int:
        """The offset where the layer's tar ends and the skippable frames begin."""
        return self.offset - _HEADER

    @property
    def annotations(self) -> Mapping[str, str]:
        return {POSITION: f"{self.offset}:{self.length}:{self.size}:{_CRFS}", CHECKSUM: str(self.digest)}


class TableWriter:
    """Build the table from the items of a layer in their order, and keep it compressed.

    What compresses takes megabytes, and a bundle may have many layers: it is there only while it is needed.
    """

    def __init__(self) -> None:
        self._compressor: zstandard.ZstdCompressionObj | None = None
        self._held: list[bytes] = []
        self._waiting = bytearray(_BEGIN)
        self._size = len(_BEGIN)
        self._is_whole = True

    def add(self, item: Item) -> None:
        """Add an item; the layer gets no table when one of its items cannot be expressed in it."""
        if self._is_whole:
            line = _line(item)
            between = b",\n" if self._size > len(_BEGIN) else b""
            if line is None or self._size + len(between) + len(line) + len(_END) > MAX_TABLE:
                self._is_whole = False
                self._held.clear()
                self._waiting.clear()
            else:
                self._write(between + line)

    def finish(self, offset: int) -> tuple[bytes, Table | None]:
        """Return the bytes that follow a tar ending at ``offset`` of its blob, and the location of the table in them."""
        if not self._is_whole:
            return b"", None
        self._write(_END)
        compressor, self._compressor = self._compressor or _compressor(), None
        data = b"".join([*self._held, compressor.compress(self._waiting), compressor.flush()])
        table = Table(offset + _HEADER, len(data), self._size, Digest.of(data))
        footer = _FOOTER.pack(table.offset, table.length, table.size, _CRFS, 0, 0, 0, _FOOTER_MAGIC)
        return _skippable(data) + _skippable(footer), table

    def _write(self, data: bytes) -> None:
        self._size += len(data)
        self._waiting += data
        if len(self._waiting) >= _BLOCK:
            self._compressor = self._compressor or _compressor()
            self._held.append(self._compressor.compress(self._waiting))
            self._waiting.clear()


def _compressor() -> zstandard.ZstdCompressionObj:
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()


def read(stream: Readable, table: Table, where: str) -> Iterator[Item]:
    """Read the items of a table from the verified stream of its bytes.

    Raises `IntegrityError` for a table that is not, byte for byte, what `TableWriter` writes of these items.
    """
    group: list[bytes] = []
    for line in _lines(stream, table, where):
        if group and not line.startswith(_CHUNK_BEGIN):
            yield _item(group, where)
            group = []
        group.append(line)
    if group:
        yield _item(group, where)


def _lines(stream: Readable, table: Table, where: str) -> Iterator[bytes]:
    """The lines of a table between its first and its last, each without the comma behind it."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    source = decompressor.stream_reader(cast(IO[bytes], stream), read_size=_BLOCK)
    text = io.BufferedReader(cast(io.RawIOBase, source), _BLOCK)
    left = table.size - len(_BEGIN) - len(_END)
    try:
        sound = text.read(len(_BEGIN)) == _BEGIN
        while sound and left > 0:
            line = text.readline(min(left, _MAX_LINE))
            left -= len(line)
            sound = line.endswith(b",\n") if left else line.startswith(b"{")
            if sound:
                yield line.removesuffix(b",\n")
        sound = sound and text.read(len(_END) + 1) == _END
    except zstandard.ZstdError as error:
        raise IntegrityError(f"{where}: a layer's table of contents is not a valid zstd stream: {error}") from error
    if not sound:
        raise _refused(where)


def _line(item: Item) -> bytes | None:
    """The lines of an item in the table, or None where JSON cannot express it: names must be UTF-8, and years have four digits."""
    entry = item.entry
    time = _time(entry)
    if time is None or not (paths.is_utf8(entry.path) and paths.is_utf8(entry.target)):
        return None
    name = _encode(_name(entry))
    told = f'{{"type":"{_TYPES[entry.kind]}","name":{name}'
    if entry.target:
        told += f',"linkName":{_encode(entry.target[1:] if entry.kind is Kind.HARD_LINK else entry.target)}'
    for key, number in (("mode", entry.mode), ("size", entry.size), ("uid", entry.uid), ("gid", entry.gid)):
        if number:
            told += f',"{key}":{number}'
    told += f',"modtime":"{time}"'
    if entry.capability or entry.xattrs:
        told += f',"xattrs":{_encode({key: base64.b64encode(value).decode() for key, value in _xattrs(entry)})}'
    if not item.chunks:
        return f"{told}}}".encode()
    first, *others = item.chunks
    told += f',"digest":"{item.digest}","offset":{first.offset},"endOffset":{item.end}'
    if not others:
        return f"{told}}}".encode()
    told += f',"chunkSize":{first.size},"chunkDigest":"{first.digest}"}}'
    return ",\n".join([told, *(_chunk_line(name, chunk) for chunk in others)]).encode()


def _chunk_line(name: str, chunk: Chunk) -> str:
    return (
        f'{_CHUNK_LINE}"name":{name},"offset":{chunk.offset},"chunkSize":{chunk.size},'
        f'"chunkOffset":{chunk.start},"chunkDigest":"{chunk.digest}"}}'
    )


def _item(group: Sequence[bytes], where: str) -> Item:
    """Parse the lines that `_line` wrote."""
    if len(group) == 1 and (item := _plain_item(group[0])):
        return item
    try:
        told, *others = [json.loads(line) for line in group]
        kind = _KINDS[told["type"]]
        target = told.get("linkName", "")
        seconds, nanoseconds = _seconds(told["modtime"])
        xattrs = {name: base64.b64decode(value) for name, value in told.get("xattrs", {}).items()}
        entry = Entry(
            path="/" + told["name"].removesuffix("/"),
            kind=kind,
            mode=_number(told, "mode"),
            uid=_number(told, "uid"),
            gid=_number(told, "gid"),
            mtime=seconds,
            size=_number(told, "size"),
            target=f"/{target}" if kind is Kind.HARD_LINK else target,
            capability=xattrs.pop(_CAPABILITY, b""),
            nanoseconds=nanoseconds,
            xattrs=tuple(xattrs.items()),
        )
        item = Item(entry, *_content(entry, told, others)) if "digest" in told else Item(entry)
        if _line(item) == b",\n".join(group) and not entry_rules.fault(entry):
            return item
    except (IntegrityError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        pass
    raise _refused(where)


def _plain_item(line: bytes) -> Item | None:
    """Parse a line of the usual form, several times faster than JSON; None for any other line, valid or not."""
    if not (found := _PLAIN.fullmatch(line)):
        return None
    form, raw, mode, size, uid, gid, time, fraction, digest, offset, end = found.groups()
    try:
        name, seconds = raw.decode(), _whole_seconds(time)
    except ValueError:
        return None
    is_directory = form == b"dir"
    if name.endswith("/") != is_directory:
        return None
    entry = Entry(
        path="/" + (name[:-1] if is_directory else name),
        kind=Kind.DIRECTORY if is_directory else Kind.FILE,
        mode=int(mode or 0),
        uid=int(uid or 0),
        gid=int(gid or 0),
        mtime=seconds,
        size=int(size or 0),
        nanoseconds=int(fraction.ljust(9, b"0")) if fraction else 0,
    )
    if entry_rules.fault(entry):
        return None
    if digest is None:
        return Item(entry)
    content, begin, behind = Digest(digest.decode()), int(offset), int(end)
    if is_directory or not 0 < entry.size <= CHUNK or begin >= behind:
        return None
    return Item(entry, content, (Chunk(begin, 0, entry.size, content),), behind)


def _content(entry: Entry, told: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> tuple[Digest, tuple[Chunk, ...], int]:
    digest = Digest.parse(told["digest"])
    end = _number(told, "endOffset")
    chunks = [_chunk({"chunkSize": entry.size, "chunkDigest": told["digest"], **told}), *map(_chunk, others)]
    ends = [*(chunk.offset for chunk in chunks[1:]), end]
    starts = range(0, entry.size, CHUNK)  # never as a list: the size may be any number
    for chunk, start, after in zip(chunks, starts, ends, strict=True):
        if (chunk.start, chunk.size) != (start, min(CHUNK, entry.size - start)) or chunk.offset >= after:
            raise ValueError("the chunks do not make up the file")
    return digest, tuple(chunks), end


def _chunk(told: Mapping[str, Any]) -> Chunk:
    return Chunk(
        _number(told, "offset"), _number(told, "chunkOffset"), _number(told, "chunkSize"), Digest.parse(told["chunkDigest"])
    )


def _number(told: Mapping[str, Any], key: str) -> int:
    found = told.get(key, 0)
    if type(found) is not int:
        raise ValueError("not a whole number")
    return found


def _name(entry: Entry) -> str:
    return entry.path[1:] + ("/" if entry.kind is Kind.DIRECTORY else "")


def _xattrs(entry: Entry) -> Iterator[tuple[str, bytes]]:
    if entry.capability:
        yield _CAPABILITY, entry.capability
    yield from sorted(entry.xattrs)


def _time(entry: Entry) -> str | None:
    try:
        whole = datetime.fromtimestamp(entry.mtime, UTC).isoformat()[:19]
    except (ValueError, OverflowError, OSError):
        return None
    fraction = f".{entry.nanoseconds:09d}".rstrip("0") if entry.nanoseconds else ""
    return f"{whole}{fraction}Z"


def _seconds(text: str) -> tuple[int, int]:
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return _whole_seconds(whole.encode()), int(fraction.ljust(9, "0"))


@functools.lru_cache(64)  # many files have the same time
def _whole_seconds(text: bytes) -> int:
    return int(datetime.fromisoformat(text.decode()).replace(tzinfo=UTC).timestamp())


def _refused(where: str) -> IntegrityError:
    return IntegrityError(f"{where}: a layer's table of contents is not in canonical form")


def _skippable(data: bytes) -> bytes:
    return SKIPPABLE + len(data).to_bytes(4, "little") + data
