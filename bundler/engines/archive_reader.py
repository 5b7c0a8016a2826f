"""Reads a container by the engine's archives of paths: ``GET /containers/ID/archive`` (Docker Engine API).

There are three readers, which yield the same entries in the same order:

- `ArchiveReader` requests the archive of each exported path (Docker).
- `ExportReader` walks the archive of the whole container (Podman, whose archives of paths lose owners and times).
- `DirectReader` walks the container's own view of its files, if the engine is local.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager

from bundler.errors import EngineError, IntegrityError, ModelError
from bundler.format import layer_rules, paths, tar
from bundler.ports import PathInfo
from bundler.streams import Readable

OpenTar = Callable[[str], AbstractContextManager[Readable]]
"""Opens the engine's archive of one path."""

Stat = Callable[[str], PathInfo | None]

_HINT = "Run the command again; the model may have changed its files, or the container was removed."


class ArchiveReader:
    """Reads a container by one request for each exported path."""

    sees_all = False

    def __init__(self, stat: Stat, open_tar: OpenTar) -> None:
        self.stat = stat
        self._open = open_tar

    def entries(self, exports: Sequence[str]) -> Generator[tuple[tar.Entry, Readable]]:
        yielded: set[str] = set()
        for export in exports:
            for above in paths.ancestors(export):
                if above not in yielded:
                    yielded.add(above)
                    yield self._first(above)
            yield from self._below(export)

    def _below(self, export: str) -> Generator[tuple[tar.Entry, Readable]]:
        named = "/" + export.rpartition("/")[2]
        with self._open(export) as stream:
            try:
                for entry, content in read_archive(stream):
                    if not paths.is_within(entry.path, named):
                        raise IntegrityError(f"the entry {entry.path!r} is outside of it")
                    yield tar.reroot(entry, named, export), content
            except IntegrityError as error:
                raise incomplete(export, error) from error

    def _first(self, directory: str) -> tuple[tar.Entry, Readable]:
        """Return the entry of a directory alone: the archive is closed after its first header."""
        below = self._below(directory)
        try:
            return next(below)
        except StopIteration:
            raise ModelError(f"the engine sent an empty archive of {directory}", hint=_HINT) from None
        finally:
            below.close()


def read_archive(stream: Readable) -> Iterator[tuple[tar.Entry, Readable]]:
    """Yield the entries of an engine's archive; raises `EngineError` for more than a bundle can have."""
    for number, member in enumerate(tar.read(stream)):
        if number >= layer_rules.MAX_ENTRIES:
            raise EngineError(f"the engine's archive has more than {layer_rules.MAX_ENTRIES} entries", hint=_HINT)
        yield member


def incomplete(what: str, error: IntegrityError) -> ModelError:
    """The error for an archive that the engine sent incompletely."""
    return ModelError(f"the engine's archive of {what} is incomplete: {error.message}", hint=_HINT)
