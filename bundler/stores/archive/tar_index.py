"""The index of a tar archive from any tool; only headers are read."""

from __future__ import annotations

import tarfile
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import IO, cast

from bundler.stores.archive.multi_file import Volumes, limited
from bundler.streams import BLOCK, Readable, Stream, skip

MAX_MEMBERS = 10_000
"""Most entries of an archive; an OCI layout has one per blob."""
MAX_HEADERS = 64 << 10
"""Most bytes of the headers of one entry; names in a layout are shorter than 100 bytes."""
MAX_PADDING = 64 << 20
"""Most bytes of zeros after an archive; tar rounds up to its block size, which is an option."""


@dataclass(frozen=True)
class TarMember:
    """Offset and size of a file's content in its archive, in bytes."""

    offset: int
    size: int


def find(archive: Volumes) -> dict[str, TarMember]:
    """Return all files of an archive by name; raises ``tarfile.TarError`` for an invalid or ambiguous tar."""
    found: dict[str, TarMember] = {}
    offset = 0
    for _ in range(MAX_MEMBERS):
        if offset == archive.size and found:  # some writers omit the trailer
            return found
        # One stream per header, as the bytes may be remote and the content is not needed.
        with archive.open(offset) as stream:
            info, following = header(stream)
        if info is None:
            with archive.open(offset) as stream:
                check_end(stream)
            return found
        if is_file(info):
            _refuse_duplicate(plain_name(info), found)
            found[plain_name(info)] = TarMember(offset + info.offset_data, info.size)
        offset += following
        if offset > archive.size:
            raise tarfile.ReadError(f"truncated inside {info.name[:200]!r}")
    raise tarfile.ReadError(f"it has more than {MAX_MEMBERS} entries")


def walk(stream: Readable) -> Iterator[tuple[tarfile.TarInfo, Stream]]:
    """Yield the files of an archive in order, each to be read before the next one; raises what `find` raises."""
    found: set[str] = set()
    for _ in range(MAX_MEMBERS):
        info, following = header(stream)
        if info is None:
            check_end(stream)
            return
        content = limited(_Unclosed(stream), following - info.offset_data)
        if is_file(info):
            _refuse_duplicate(plain_name(info), found)
            found.add(plain_name(info))
            yield info, limited(content, info.size)
        skip(content, following)
    raise tarfile.ReadError(f"it has more than {MAX_MEMBERS} entries")


def header(stream: Readable) -> tuple[tarfile.TarInfo | None, int]:
    """Return the next entry and the distance to the one after it; None at the end of the archive.

    Only the header is read, at most `MAX_HEADERS` bytes.
    """
    file = cast(IO[bytes], limited(_Unclosed(stream), MAX_HEADERS))  # this mode calls only `read`
    with tarfile.open(fileobj=file, mode="r|", bufsize=tarfile.BLOCKSIZE) as entries:
        info, following = entries.next(), entries.offset
    if info is not None and (info.size < 0 or following <= 0):
        raise tarfile.ReadError(f"{info.name[:200]!r} has an impossible size")
    return info, following


def check_end(stream: Readable) -> None:
    """Raises ``tarfile.ReadError`` when anything but zero padding follows."""
    size = 0
    while block := stream.read(BLOCK):
        size += len(block)
        if any(block) or size > MAX_PADDING:
            raise tarfile.ReadError("data after the end of the archive")


def is_file(info: tarfile.TarInfo) -> bool:
    """Whether an entry is a plain, not sparse file."""
    return info.isreg() and not info.issparse() and info.size >= 0


def plain_name(info: tarfile.TarInfo) -> str:
    """Return the name of an entry without a leading ``./``."""
    return info.name.removeprefix("./")


class _Unclosed(Stream):
    """A stream whose `close` leaves the underlying stream open."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        return self._stream.read(size)

    def close(self) -> None:
        """Do nothing: the caller closes the underlying stream."""


def _refuse_duplicate(name: str, found: Container[str]) -> None:
    if name in found:
        raise tarfile.ReadError(f"it has {name[:200]!r} twice")
