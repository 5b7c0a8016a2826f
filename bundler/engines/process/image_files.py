"""The files of a clean base, looked up in the layers of a container that was started from it."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from bundler.engines.process.overlay import Overlay
from bundler.errors import EngineError
from bundler.format.tar import Entry
from bundler.ports import PathInfo
from bundler.streams import Readable


class ImageFiles:
    """Tells which paths the lowest ``layers`` have; their content is not read."""

    sees_all = True

    def __init__(self, overlay: Overlay, layers: int) -> None:
        self._overlay = overlay
        self._layers = layers

    def stat(self, path: str) -> PathInfo | None:
        return self._overlay.look(path, self._layers)

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        raise EngineError(f"the content of {', '.join(exports)} cannot be read in the clean base")
        yield
