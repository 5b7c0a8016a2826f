"""How the file system of a container is read: by the engine's archives, by its export, or straight from the kernel.

All three give the same entries in the same order. What they are made of differs:

- `ArchiveReader` asks for the archive of each exported path (Docker).
- `ExportReader` walks the one archive of the whole container (Podman, whose archives of paths lose
  owners and times).
- `DirectReader`, in ``direct.py``, walks the container's own view of its files, where the engine is local.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from bundler.errors import IntegrityError, ModelError
from bundler.format import paths, tar
from bundler.format.content import NOTHING, Readable
from bundler.ports import PathInfo

OpenTar = Callable[[str], AbstractContextManager[Readable]]
"""Opens the engine's archive of one path."""

Stat = Callable[[str], PathInfo | None]

_BROKEN_HINT = "The model changed its files while they were read, or the container went away. Run the command again."


class ArchiveReader:
    """Reads by ``GET /containers/ID/archive``, one request for each exported path (Docker Engine API)."""

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
                for entry, content in tar.read(stream):
                    if not paths.is_within(entry.path, named):
                        raise IntegrityError(f"the entry {entry.path!r} does not belong to it")
                    yield tar.reroot(entry, named, export), content
            except IntegrityError as error:
                raise _broken(export, error) from error

    def _first(self, directory: str) -> tuple[tar.Entry, Readable]:
        """The entry of a directory alone: the archive is closed after its first header."""
        below = self._below(directory)
        try:
            return next(below)
        except StopIteration:
            raise ModelError(f"the engine gave nothing for {directory}", hint=_BROKEN_HINT) from None
        finally:
            below.close()


class ExportReader:
    """Reads by ``GET /containers/ID/export``, which gives the whole container, and takes what is wanted of it.

    The archive names a file by its first name in the whole container. Where that lies outside of an export, the
    content is fetched from another walk, for the first name inside; later names are links to that one.
    What lies on ``mounts`` is not in it.
    """

    def __init__(self, stat: Stat, open_tar: OpenTar, mounts: Collection[str]) -> None:
        self.stat = stat
        self._open = open_tar
        self._mounts = mounts

    def entries(self, exports: Sequence[str]) -> Generator[tuple[tar.Entry, Readable]]:
        if hidden := [mount for mount in self._mounts if any(paths.overlap(mount, export) for export in exports)]:
            raise ModelError(
                f"{paths.encode(hidden[0])} is a mount, which can be read unchanged on this engine only while the container runs, "
                "by root on the engine's own host, without a user namespace",
                hint="Start the container and run this as root on that host; or keep state out of mounts.",
            )
        above = {directory for export in exports for directory in paths.ancestors(export)}
        first_names: dict[tuple[str, str], str] = {}
        with self._open("/") as stream:
            try:
                for entry, content in tar.read(stream):
                    export = next((export for export in exports if paths.is_within(entry.path, export)), None)
                    if export and entry.kind is tar.Kind.HARD_LINK and not paths.is_within(entry.target, export):
                        yield from self._outside_link(entry, export, first_names)
                    elif export or entry.path in above:
                        yield entry, content
            except IntegrityError as error:
                raise _broken("the container", error) from error

    def _outside_link(
        self, entry: tar.Entry, export: str, first_names: dict[tuple[str, str], str]
    ) -> Generator[tuple[tar.Entry, Readable]]:
        known = first_names.setdefault((export, entry.target), entry.path)
        if known != entry.path:
            yield replace(entry, target=known), NOTHING
            return
        with self._open("/") as stream:
            for original, content in tar.read(stream):
                if original.path == entry.target:
                    yield replace(original, path=entry.path), content
                    return
        raise IntegrityError(f"{entry.target!r}, which {entry.path!r} is linked to, is not there")


def _broken(what: str, error: IntegrityError) -> ModelError:
    return ModelError(f"what the engine sent of {what} is incomplete: {error.message}", hint=_BROKEN_HINT)
