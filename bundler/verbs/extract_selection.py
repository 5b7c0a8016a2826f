"""Which paths of a bundle are extracted, and under which names."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from bundler.errors import UsageError
from bundler.format import paths
from bundler.localfs.walk import Names
from bundler.verbs import listing

ANY_DEPTH = "**"


class Selection:
    """The wanted paths, by name or glob, each with all below it; all paths of the bundle without any.

    In a glob, ``*``, ``?`` and ``[…]`` stand for parts of one name, and a name of ``**`` for any number of directories.
    ``strip`` is the directory whose content goes directly into the target. Raises `UsageError` for a path that is not absolute.
    """

    def __init__(self, wanted: Sequence[str] = (), strip: str = "/") -> None:
        self._wanted = [_Wanted(listing.parse(text)) for text in wanted]
        self._strip = listing.parse(strip)

    @property
    def is_partial(self) -> bool:
        return bool(self._wanted)

    def wants(self, path: str) -> bool:
        """Whether a path is wanted; every wanted path that it matches is noted."""
        if not self._wanted:
            return True
        matching = [wanted for wanted in self._wanted if wanted.matches(path)]  # all of them, as each one notes it
        return bool(matching)

    def unmatched(self) -> list[str]:
        """Return the wanted paths that no path has matched."""
        return [paths.encode(wanted.path) for wanted in self._wanted if not wanted.is_matched]

    def place(self, path: str, *, is_directory: bool) -> Names | None:
        """Return the names of a path below the target; None for the target itself and what lies above it.

        Raises `UsageError` for a path that is not below ``strip``.
        """
        top = self._strip
        if path != top and paths.is_within(path, top):
            return tuple(paths.to_bytes(path[len(top) :].strip("/")).split(b"/"))
        if is_directory and paths.is_within(top, path):
            return None
        raise UsageError(
            f"{paths.encode(path)!r} does not lie below {paths.encode(top)!r}, the prefix of --strip",
            hint="Name only paths below the prefix, or use a shorter one.",
        )


class _Wanted:
    """One wanted path."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_matched = False
        is_glob = any(mark in path for mark in "*?[")
        self._pattern = tuple(path.split("/")[1:]) if is_glob else ()

    def matches(self, path: str) -> bool:
        found = paths.is_within(path, self.path) or (bool(self._pattern) and _matches(tuple(path.split("/")[1:]), self._pattern))
        self.is_matched = self.is_matched or found
        return found


def _matches(names: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether a pattern matches a path or a directory above it."""
    if not pattern:
        return True
    if pattern[0] == ANY_DEPTH:
        return any(_matches(names[start:], pattern[1:]) for start in range(len(names) if pattern[1:] else 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _matches(names[1:], pattern[1:])
