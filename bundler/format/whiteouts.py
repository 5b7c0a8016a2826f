"""Find the paths of the base that the model deleted, by comparing two listings in walking order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bundler.format import paths
from bundler.format.tar import STATE_KINDS, Entry, Kind


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a listing."""

    path: str
    kind: Kind


def true_kind(entry: Entry, special: dict[str, Kind]) -> Kind:
    """Return the kind of an entry, for a hard link that of its target; ``special`` collects FIFOs, sockets and devices."""
    if entry.kind not in STATE_KINDS:
        special[entry.path] = entry.kind
    return special.get(entry.target, entry.kind) if entry.kind is Kind.HARD_LINK else entry.kind


class Removals:
    """Find the topmost paths of a base that a capture lacks; both are read in walking order and not kept in memory.

    A file in place of a directory hides everything in the directory, so that needs no whiteout. A base entry of a
    kind that is not state (such as a FIFO) is not removed while the capture has an entry of that kind there.
    """

    def __init__(self, base: Iterable[Listed]) -> None:
        self._base: Iterator[Listed] = iter(base)
        self._next = next(self._base, None)
        self._hidden = ""
        self._special: dict[str, Kind] = {}
        self.removed: list[str] = []

    def saw(self, entry: Entry) -> None:
        """Process the next entry of the capture, of any kind."""
        key, kind = paths.sort_key(entry.path), true_kind(entry, self._special)
        while self._next and paths.sort_key(self._next.path) < key:
            self._gone(self._next)
            self._advance()
        if self._next and self._next.path == entry.path:
            if kind not in STATE_KINDS and self._next.kind is not kind:
                self._gone(self._next)
            self._advance()
        if entry.kind is not Kind.DIRECTORY:
            self._hidden = entry.path

    def finish(self) -> list[str]:
        """Return the topmost removed paths in walking order; no more entries may follow."""
        while self._next:
            self._gone(self._next)
            self._advance()
        return self.removed

    def _gone(self, listed: Listed) -> None:
        if self._hidden and paths.is_within(listed.path, self._hidden):
            return
        if not self.removed or not paths.is_within(listed.path, self.removed[-1]):
            self.removed.append(listed.path)

    def _advance(self) -> None:
        self._next = next(self._base, None)
