"""A new blob with a limit to its size."""

from __future__ import annotations

from bundler.errors import IntegrityError
from bundler.format.content import Descriptor
from bundler.format.layer_writer import Blob


class LimitedBlob:
    """A new blob of at most ``most`` bytes; `write` raises `IntegrityError` for more. ``what`` is the subject of the error."""

    def __init__(self, inner: Blob, most: int, what: str) -> None:
        self._inner = inner
        self._left = most
        self._most = most
        self._what = what

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise IntegrityError(f"{self._what} has more than {self._most} bytes when it is rebuilt")
        self._inner.write(data)
        return len(data)

    def settle(self) -> None:
        self._inner.settle()

    def finish(self, media_type: str) -> Descriptor:
        return self._inner.finish(media_type)

    def discard(self) -> None:
        self._inner.discard()
