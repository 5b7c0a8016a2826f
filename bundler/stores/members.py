"""The files in a tar archive that any tool may have written; only headers are read to find them."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from typing import IO, cast

from bundler.format.content import BLOCK, Readable
from bundler.stores.volumes import Volumes

MAX_MEMBERS = 10_000
"""Most entries that an archive may have; an OCI layout has one for each blob."""


@dataclass(frozen=True)
class Member:
    """Where the content of a file lies in its archive, in bytes."""

    offset: int
    size: int


def find(archive: Volumes) -> dict[str, Member]:
    """All files of an archive by name; raises ``tarfile.TarError`` for what is no tar."""
    found: dict[str, Member] = {}
    offset = 0
    for _ in range(MAX_MEMBERS):
        if offset == archive.size and found:  # some writers leave the trailer out
            return found
        info, following = _header(archive, offset)
        if info is None:
            return found
        if is_file(info):
            found[plain_name(info)] = Member(offset + info.offset_data, info.size)
        offset += following
        if following <= 0 or offset > archive.size:
            raise tarfile.ReadError(f"it breaks off inside {info.name[:200]!r}")
    raise tarfile.ReadError(f"it has more than {MAX_MEMBERS} entries")


def walk(stream: Readable) -> tarfile.TarFile:
    """An archive that comes in order and cannot be read twice."""
    return tarfile.open(fileobj=_file(stream), mode="r|", bufsize=BLOCK)


def is_file(info: tarfile.TarInfo) -> bool:
    """Whether an entry is a file whose content stands in the archive as it is."""
    return info.isreg() and not info.issparse() and info.size >= 0


def plain_name(info: tarfile.TarInfo) -> str:
    """How an entry is called, whichever way the archive was packed."""
    return info.name.removeprefix("./")


def _header(archive: Volumes, offset: int) -> tuple[tarfile.TarInfo | None, int]:
    """The entry at a place, and where the next one begins, seen from there.

    A stream is opened for each, of which no more is read than its header, as bytes may be far away.
    """
    with (
        archive.open(offset) as stream,
        tarfile.open(fileobj=_file(stream), mode="r|", bufsize=tarfile.BLOCKSIZE) as entries,
    ):
        return entries.next(), entries.offset


def _file(stream: Readable) -> IO[bytes]:
    """A stream as tarfile's types want it; in this mode nothing but its ``read`` is called."""
    return cast(IO[bytes], stream)
