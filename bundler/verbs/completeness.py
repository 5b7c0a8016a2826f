"""Whether an engine's archive held every file: compared with what the engine says has changed in the container.

An engine writes an archive to its end when it cannot read a file, and leaves the file out without a word; it leaves out sockets,
too. What differs from the image must be in the archive, so what the engine lists as added or changed, and no entry was read of, is
looked at by itself. The rest of the container is the clean base, whose files `removals` looks for. Nothing tells what an engine
left out of a volume or a bind mount, nor of names that are not UTF-8, which engines do not list as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bundler.errors import ModelError
from bundler.format import paths
from bundler.ports import Container, Engine, Reader
from bundler.verbs.mounts import ENGINE_FILES

_REPLACED = "\ufffd"  # stands in JSON for bytes that are not UTF-8


class Expected:
    """The paths below some exports of which a capture must see an entry."""

    def __init__(self, changes: Mapping[str, str], exports: Collection[str], container: Container) -> None:
        tops, outside = frozenset(exports), frozenset((*container.mounts, *ENGINE_FILES))
        self._unseen = {
            path
            for path, change in changes.items()
            if change != "deleted" and _REPLACED not in path and paths.top_of(path, tops) and not paths.top_of(path, outside)
        }

    def saw(self, path: str) -> None:
        """Take note of an entry that was read."""
        self._unseen.discard(path)

    def left_out(self, container: Container, engine: Engine, reader: Reader) -> list[str]:
        """The sockets that the archive lacks; raises `ModelError` for anything else that it lacks.

        No stream of the container may be open. What is empty, and neither a directory nor a link, is taken for a socket.
        """
        sockets = []
        for path in sorted(self._unseen, key=paths.sort_key):
            info = reader.stat(path)
            if info is None:  # it was deleted since the changes were listed
                continue
            if info.is_directory or info.link_target is not None or engine.size(container, path):
                raise ModelError(
                    f"the engine left {paths.encode(path)!r} out of what it sent",
                    hint="See the engine's log for the reason, and check the disk; or use --reader direct as root on that host.",
                )
            sockets.append(path)
        return sockets
