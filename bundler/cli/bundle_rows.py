"""The rows of ``list``: sorted, filtered, and shown as a table or by a template."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING

from bundler.cli import console
from bundler.errors import UsageError
from bundler.format import artifact, units
from bundler.format.artifact import Manifest
from bundler.format.reference import without_tag

if TYPE_CHECKING:
    from bundler.bundle import Bundle
    from bundler.ports import Store

_FIELD = re.compile(r"\{\{\s*\.?(\w*)\s*\}\}")


@dataclass(frozen=True)
class Row:
    """A bundle and its name in a store; signatures and metadata are read when they are shown."""

    stored_name: str
    manifest: Manifest
    store: Store
    place: str
    """What stands before the tag in other stores than the local one; empty for the local store."""

    @property
    def name(self) -> str:
        return self.place or without_tag(self.stored_name)

    @property
    def tag(self) -> str:
        """The tag; ``-`` for a bundle that has none."""
        if self.place:
            return self.stored_name or "-"
        return "-" if "@" in self.stored_name else self.stored_name.rpartition(":")[2]

    @property
    def digest(self) -> str:
        return str(self.manifest.descriptor.digest)

    @property
    def created(self) -> str:
        return self.manifest.annotations.get(artifact.CREATED, "-")

    @property
    def size(self) -> str:
        return units.shown(self.manifest.size)

    @property
    def title(self) -> str:
        return self.manifest.annotations.get(artifact.TITLE, "-")

    @property
    def version(self) -> str:
        return self.manifest.annotations.get(artifact.VERSION, "-")

    @property
    def base(self) -> str:
        return self.manifest.annotations.get(artifact.BASE_NAME, "-")

    @cached_property
    def signed(self) -> str:
        """Whether there is a signature; `verify` tells whether it is a trusted one."""
        from bundler.format import signature  # slow to import

        found = self.store.referrers(self.manifest.descriptor)
        return "yes" if any(it.artifact_type == signature.ARTIFACT_TYPE for it in found) else "no"

    @cached_property
    def host(self) -> str:
        """The host that the bundle was pushed from."""
        return self._bundle.metadata.source.host_name or "-"

    @cached_property
    def _bundle(self) -> Bundle:
        from bundler.bundle import read_bundle

        return read_bundle(self.store, self.manifest.descriptor)


_FIELDS: dict[str, Callable[[Row], str]] = {
    "Name": lambda row: row.name,
    "Tag": lambda row: row.tag,
    "Digest": lambda row: row.digest,
    "Created": lambda row: row.created,
    "Size": lambda row: row.size,
    "Title": lambda row: row.title,
    "Version": lambda row: row.version,
    "Base": lambda row: row.base,
    "Signed": lambda row: row.signed,
    "From": lambda row: row.host,
}
FIELDS = tuple(_FIELDS)
_SORTED: dict[str, Callable[[Row], object]] = {
    "name": lambda row: row.stored_name,
    "created": lambda row: row.created,
    "size": lambda row: row.manifest.size,
}
SORTS = tuple(_SORTED)


def filtered(rows: Sequence[Row], filters: Sequence[str]) -> list[Row]:
    """Return the rows that match each ``FIELD=PATTERN``; raises `UsageError` for an unknown field."""
    found = list(rows)
    for text in filters:
        key, equals, pattern = text.partition("=")
        if not equals or key.capitalize() not in FIELDS:
            known = ", ".join(field.lower() for field in FIELDS)
            raise UsageError(f"unknown filter {text[:200]!r}", hint=f"Write FIELD=PATTERN with one of the fields {known}.")
        value = _FIELDS[key.capitalize()]
        found = [row for row in found if fnmatchcase(value(row), pattern)]
    return found


def ordered(rows: Sequence[Row], by: str) -> list[Row]:
    """Sort rows by name, from the newest to the oldest, or from the largest to the smallest."""
    return sorted(rows, key=_SORTED[by], reverse=by != "name")  # type: ignore[arg-type]


def template(text: str) -> Callable[[Row], str]:
    """Return the function that writes a row by a template such as ``{{.Name}}:{{.Tag}}``; raises `UsageError`.

    What it writes acts on no terminal, except for the text of the template itself.
    """
    if unknown := [field for field in _FIELD.findall(text) if field not in FIELDS]:
        raise UsageError(f"unknown field {unknown[0][:50]!r} in the format", hint=f"Known fields: {', '.join(FIELDS)}")
    if not _FIELD.search(text):
        raise UsageError(f"the format {text[:200]!r} has no field", hint="Use table, json, or fields such as {{.Name}}:{{.Tag}}")
    plain = text.replace("\\t", "\t").replace("\\n", "\n")
    return lambda row: _FIELD.sub(lambda match: console.safe(_FIELDS[match[1]](row)), plain)


def age(created: str, now: datetime) -> str:
    """Return how long ago a time of RFC 3339 is, in its largest unit; the time itself if it is none, or in the future."""
    try:
        seconds = (now - datetime.fromisoformat(created)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return created
    if seconds < 0:
        return created
    for unit, length in (("year", 365 * 86400), ("month", 30 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{units.counted(int(seconds // length), unit)} ago"
    return "just now"


def table(rows: Sequence[Row], width: int, *, trunc: bool, now: datetime | None = None) -> list[list[str]]:
    """Return header and cells that fit into a terminal of this width; with ``trunc`` off they are as long as they are.

    Columns that do not fit are left out from the right, then the longest cells are cut.
    """
    now = now or datetime.now(UTC)
    columns = dict(_COLUMNS)
    if trunc:
        columns |= {"DIGEST": lambda row: row.manifest.descriptor.digest.short, "CREATED": lambda row: age(row.created, now)}
        if width < _WIDE:
            del columns["FROM"]
    cells = [list(columns), *([console.safe(value(row)) for value in columns.values()] for row in rows)]
    return _fitted(cells, width) if trunc else cells


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "NAME": lambda row: row.name,
    "TAG": lambda row: row.tag,
    "DIGEST": lambda row: row.digest,
    "CREATED": lambda row: row.created,
    "SIZE": lambda row: row.size,
    "SIGNED": lambda row: row.signed,
    "BASE": lambda row: row.base,
    "FROM": lambda row: row.host,
}
_WIDE = 100
"""The least width of a terminal that has room for the column FROM, for which the metadata of each bundle is read."""


_FLEXIBLE = (0, 1, 6, 7)
"""The columns whose cells can be cut: name, tag, base and host."""
_LEAST = 8
_LEAST_COLUMNS = 5


def _fitted(cells: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    shown = [list(row) for row in cells]
    while len(shown[0]) > _LEAST_COLUMNS and _least_width(shown) > width:
        shown = [row[:-1] for row in shown]
    while _width(shown) > width:
        longest = max((column for column in _FLEXIBLE if column < len(shown[0])), key=lambda column: _longest(shown, column))
        length = _longest(shown, longest)
        if length <= _LEAST:
            break
        shown = [[*row[:longest], _cut(row[longest], length - 1), *row[longest + 1 :]] for row in shown]
    return shown


def _longest(cells: Sequence[Sequence[str]], column: int) -> int:
    return max(len(row[column]) for row in cells)


def _width(cells: Sequence[Sequence[str]]) -> int:
    return sum(_longest(cells, column) + 2 for column in range(len(cells[0]))) - 2


def _least_width(cells: Sequence[Sequence[str]], flexible: Collection[int] = _FLEXIBLE) -> int:
    lengths = [_longest(cells, column) for column in range(len(cells[0]))]
    return sum((min(it, 2 * _LEAST) if column in flexible else it) + 2 for column, it in enumerate(lengths)) - 2


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
