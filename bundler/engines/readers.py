"""How the file system of a container is read: by the engine's archives, by its export, or straight from the kernel.

All three give the same entries in the same order. What they are made of differs:

- `ArchiveReader` asks for the archive of each exported path (Docker).
- `ExportReader`, in ``exportreader.py``, walks the one archive of the whole container (Podman, whose archives of paths lose
  owners and times).
- `DirectReader`, in ``direct.py``, walks the container's own view of its files, where the engine is local.
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

_BROKEN_HINT = "The model changed its files while they were read, or the container went away. Run the command again."


class ArchiveReader:
    """Reads by ``GET /containers/ID/archive``, one request for each exported path (Docker Engine API)."""

    sees_all = False

    def __init__(self, stat: Stat, open_tar: OpenTar) -> None:
        self.stat = stat
        self._open = open_tar

    def entries(self, exports: Sequence[str]) -> Generator[tuple[tar.Entry, Readable]]:
        known: set[str] = set()
        for export in exports:
            for above in paths.ancestors(export):
                if above not in known:
                    known.add(above)
                    yield self._first(above)
            yield from self._below(export)

    def _below(self, export: str) -> Generator[tuple[tar.Entry, Readable]]:
        named = "/" + export.rpartition("/")[2]
        with self._open(export) as stream:
            try:
                for entry, content in archived(stream):
                    if not paths.is_within(entry.path, named):
                        raise IntegrityError(f"the entry {entry.path!r} does not belong to it")
                    yield tar.reroot(entry, named, export), content
            except IntegrityError as error:
                raise broken(export, error) from error

    def _first(self, directory: str) -> tuple[tar.Entry, Readable]:
        """The entry of a directory alone: the archive is closed after its first header."""
        below = self._below(directory)
        try:
            return next(below)
        except StopIteration:
            raise ModelError(f"the engine gave nothing for {directory}", hint=_BROKEN_HINT) from None
        finally:
            below.close()


def archived(stream: Readable) -> Iterator[tuple[tar.Entry, Readable]]:
    """The entries of an engine's archive, no more than a bundle could have."""
    for number, found in enumerate(tar.read(stream)):
        if number >= layer_rules.MAX_ENTRIES:
            raise EngineError(f"the engine's archive has more than {layer_rules.MAX_ENTRIES} entries", hint=_BROKEN_HINT)
        yield found


def broken(what: str, error: IntegrityError) -> ModelError:
    """The error for an archive that the engine did not send whole."""
    return ModelError(f"what the engine sent of {what} is incomplete: {error.message}", hint=_BROKEN_HINT)
