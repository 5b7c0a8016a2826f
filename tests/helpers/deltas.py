"""Sources of deltas in memory."""

from __future__ import annotations

from collections.abc import Mapping


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


class Files:
    """A source in memory."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents

    def open(self, name: str) -> Bytes | None:
        return Bytes(self._contents[name]) if name in self._contents else None
