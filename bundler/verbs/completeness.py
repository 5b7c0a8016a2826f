"""Check that an engine's archive had every file, by the engine's list of changes in the container.

An engine that cannot read a file leaves it out of the archive without an error; it leaves out sockets, too. Each path that the
engine lists as added or changed must be in the archive; each one that is not is looked up. All other files are those of the
clean base, which `Removals` compares. Two kinds of omissions cannot be found: those in a volume or bind mount, and names
that are not UTF-8, which engines do not list exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bundler.errors import ModelError
from bundler.format import paths
from bundler.ports import Container, Engine, Reader
from bundler.verbs.mounts import ENGINE_FILES

_REPLACED = "\ufffd"  # replaces bytes in JSON that are not UTF-8


class ExpectedPaths:
    """The paths below the exports that a capture must read an entry of."""

    def __init__(self, changes: Mapping[str, str], exports: Collection[str], container: Container) -> None:
        tops, outside = frozenset(exports), frozenset((*container.mounts, *ENGINE_FILES))
        self._unseen = {
            path
            for path, change in changes.items()
            if change != "deleted" and _REPLACED not in path and paths.top_of(path, tops) and not paths.top_of(path, outside)
        }

    def saw(self, path: str) -> None:
        """Record an entry that was read."""
        self._unseen.discard(path)

    def left_out(self, container: Container, engine: Engine, reader: Reader) -> list[str]:
        """Return the sockets that the archive lacks; raises `ModelError` for any other missing path.

        No stream of the container may be open. An empty entry that is neither a directory nor a link counts as a socket.
        """
        sockets = []
        for path in sorted(self._unseen, key=paths.sort_key):
            info = reader.stat(path)
            if info is None:  # deleted since the changes were listed
                continue
            if info.is_directory or info.link_target is not None or engine.size(container, path):
                raise ModelError(
                    f"the engine left {paths.encode(path)!r} out of its archive",
                    hint="Check the engine's log and the disk, or use --reader direct as root on that host.",
                )
            sockets.append(path)
        return sockets
