"""Reads a container by the engine's archives of paths: ``GET /containers/ID/archive`` (Docker Engine API).

There are three readers, which yield the same entries in the same order:

- `ArchiveReader` requests the archive of each exported path (Docker).
- `ExportReader` walks the archive of the whole container (Podman, whose archives of paths lose owners and times).
- `DirectReader` walks the container's own view of its files, if the engine is local.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

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
            for entry, content in read_archive(stream, export):
                if not paths.is_within(entry.path, named):
                    raise incomplete(export, f"the entry {entry.path!r} is outside of it")
                yield tar.reroot(entry, named, export), content

    def _first(self, directory: str) -> tuple[tar.Entry, Readable]:
        """Return the entry of a directory alone: the archive is closed after its first header."""
        below = self._below(directory)
        try:
            return next(below)
        except StopIteration:
            raise ModelError(f"the engine sent an empty archive of {directory}", hint=_HINT) from None
        finally:
            below.close()


def read_archive(stream: Readable, what: str) -> Iterator[tuple[tar.Entry, Readable]]:
    """Yield the entries of an engine's archive of ``what``.

    The walk and the contents raise `ModelError` when the archive is incomplete: an engine ends it at a file that changes.
    Raises `EngineError` for more entries than a bundle can have.
    """
    members = enumerate(tar.read(stream))
    while True:
        with _complete(what):
            number, member = next(members, (-1, None))
        if member is None:
            return
        if number >= layer_rules.MAX_ENTRIES:
            raise EngineError(f"the engine's archive has more than {layer_rules.MAX_ENTRIES} entries", hint=_HINT)
        entry, content = member
        yield entry, _Content(content, what)


def incomplete(what: str, why: str) -> ModelError:
    """The error for an archive that the engine sent incompletely."""
    return ModelError(f"the engine's archive of {what} is incomplete: {why}", hint=_HINT)


class _Content:
    """The content of an entry of the engine's archive of ``what``."""

    def __init__(self, content: Readable, what: str) -> None:
        self._content = content
        self._what = what

    def read(self, size: int = -1, /) -> bytes:
        with _complete(self._what):
            return self._content.read(size)


@contextmanager
def _complete(what: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise incomplete(what, error.message) from error
