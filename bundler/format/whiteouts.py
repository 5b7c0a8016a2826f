"""What the model has deleted out of its base: two listings in walking order, compared while they pass."""

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
    """What an entry is: a hard link to a FIFO, socket or device is one of these, too; ``special`` gathers those that were met."""
    if entry.kind not in STATE_KINDS:
        special[entry.path] = entry.kind
    return special.get(entry.target, entry.kind) if entry.kind is Kind.HARD_LINK else entry.kind


class Removals:
    """Finds the topmost paths of a base that a capture lacks; both come in walking order, and neither is held.

    What a change of type hides needs no whiteout: a file in place of a directory hides all that was
    in it. A base entry of a kind that is no state (a FIFO, say) is not gone while the capture still
    has that kind there.
    """

    def __init__(self, base: Iterable[Listed]) -> None:
        self._base: Iterator[Listed] = iter(base)
        self._next = next(self._base, None)
        self._hidden = ""
        self._special: dict[str, Kind] = {}
        self.removed: list[str] = []

    def saw(self, entry: Entry) -> None:
        """Take note of the next entry of the capture, of whatever kind."""
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
        """The topmost paths that are gone, in walking order; no more entries may come."""
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
