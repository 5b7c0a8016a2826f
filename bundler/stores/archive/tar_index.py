"""The files in a tar archive that any tool may have written; only headers are read to find them."""

from __future__ import annotations

import tarfile
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import IO, cast

from bundler.stores.archive.multi_file import Volumes, limited, skip
from bundler.streams import BLOCK, Readable, Stream

MAX_MEMBERS = 10_000
"""Most entries that an archive may have; an OCI layout has one for each blob."""
MAX_HEADERS = 64 << 10
"""Bytes that the headers of one entry may have; the names in a layout take no hundred."""
MAX_PADDING = 64 << 20
"""Zeros that may follow behind an archive, in bytes; tar rounds up to its blocks, which are chosen by whoever packs."""


@dataclass(frozen=True)
class Member:
    """Where the content of a file lies in its archive, in bytes."""

    offset: int
    size: int


def find(archive: Volumes) -> dict[str, Member]:
    """All files of an archive by name; raises ``tarfile.TarError`` for what is no tar, or one that can be read in two ways."""
    found: dict[str, Member] = {}
    offset = 0
    for _ in range(MAX_MEMBERS):
        if offset == archive.size and found:  # some writers leave the trailer out
            return found
        # A stream is opened for each header, of which no more is read, as bytes may be far away.
        with archive.open(offset) as stream:
            info, following = header(stream)
        if info is None:
            with archive.open(offset) as stream:
                check_end(stream)
            return found
        if is_file(info):
            _refuse_twin(plain_name(info), found)
            found[plain_name(info)] = Member(offset + info.offset_data, info.size)
        offset += following
        if offset > archive.size:
            raise tarfile.ReadError(f"it breaks off inside {info.name[:200]!r}")
    raise tarfile.ReadError(f"it has more than {MAX_MEMBERS} entries")


def walk(stream: Readable) -> Iterator[tuple[tarfile.TarInfo, Stream]]:
    """The files of an archive that comes in order, each to be read before the next one; raises what `find` raises."""
    found: set[str] = set()
    for _ in range(MAX_MEMBERS):
        info, following = header(stream)
        if info is None:
            check_end(stream)
            return
        content = limited(_Lent(stream), following - info.offset_data)
        if is_file(info):
            _refuse_twin(plain_name(info), found)
            found.add(plain_name(info))
            yield info, limited(content, info.size)
        skip(content, following)
    raise tarfile.ReadError(f"it has more than {MAX_MEMBERS} entries")


def header(stream: Readable) -> tuple[tarfile.TarInfo | None, int]:
    """The next entry, and how far behind its beginning the one after it begins; None where the archive ends.

    No more is read than the header, of which `MAX_HEADERS` bytes are enough.
    """
    file = cast(IO[bytes], limited(_Lent(stream), MAX_HEADERS))  # in this mode nothing but its `read` is called
    with tarfile.open(fileobj=file, mode="r|", bufsize=tarfile.BLOCKSIZE) as entries:
        info, following = entries.next(), entries.offset
    if info is not None and (info.size < 0 or following <= 0):
        raise tarfile.ReadError(f"{info.name[:200]!r} has an impossible size")
    return info, following


def check_end(stream: Readable) -> None:
    """Raises ``tarfile.ReadError`` when zeros are not all that follows; tar pads an archive with them."""
    size = 0
    while block := stream.read(BLOCK):
        size += len(block)
        if any(block) or size > MAX_PADDING:
            raise tarfile.ReadError("something follows behind its end")


def is_file(info: tarfile.TarInfo) -> bool:
    """Whether an entry is a file whose content stands in the archive as it is."""
    return info.isreg() and not info.issparse() and info.size >= 0


def plain_name(info: tarfile.TarInfo) -> str:
    """How an entry is called, whichever way the archive was packed."""
    return info.name.removeprefix("./")


class _Lent(Stream):
    """A stream that stays open when what was made of it is closed."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        return self._stream.read(size)

    def close(self) -> None:
        """Whoever lent it closes it."""


def _refuse_twin(name: str, found: Container[str]) -> None:
    if name in found:
        raise tarfile.ReadError(f"it has {name[:200]!r} twice")
