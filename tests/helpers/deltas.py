"""Sources of deltas in memory."""

from __future__ import annotations

from collections.abc import Mapping

import zstandard


class Bytes:
    """A source file in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def size(self) -> int:
        return len(self._content)

    def read_at(self, position: int, size: int) -> bytes:
        assert 0 <= position <= position + size <= len(self._content)
        return self._content[position : position + size]

    def expect(self, position: int) -> None:
        del position

    def frame_at(self, position: int, size: int) -> None:
        del position, size


class Files:
    """A source in memory."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents

    def open(self, name: str) -> Bytes | None:
        return Bytes(self._contents[name]) if name in self._contents else None


def operations(delta: bytes) -> list[tuple[str, int]]:
    """Return the name and the number of each operation of a tar-diff, behind the one that opens the file."""
    content = zstandard.ZstdDecompressor().decompressobj().decompress(delta[8:])
    found, at = [], 0
    while at < len(content):
        kind, number, shift = content[at], 0, 0
        at += 1
        while content[at] > 0x7F:
            number |= (content[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
        number |= content[at] << shift
        at += 1
        found.append((["data", "open", "copy", "add", "seek"][kind], number))
        at += number if kind in {0, 1, 3} else 0
    return found[1:]
