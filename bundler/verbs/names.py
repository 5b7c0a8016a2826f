"""Names: which entries of a place a command line means, and what goes with them when they are removed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from bundler.errors import IntegrityError, NotFoundError, UsageError
from bundler.format import reference
from bundler.format.artifact import no_bundle
from bundler.format.reference import ArchiveReference, LayoutReference, LocalReference, Reference, RegistryReference, without_tag
from bundler.ports import Displaced, Entry, EntryKind, Place, Removed

_PATTERN = re.compile(r"(.+):([^:/@]*[*?\[][^:/@]*)")
"""A reference whose tag has wildcards."""
_TAGS = (EntryKind.TAG, EntryKind.NEXT_SOURCE)


@dataclass(frozen=True)
class Wanted:
    """What a command line names: a bundle by its tag or digest, or with ``pattern`` all bundles whose tag matches."""

    text: str
    reference: Reference
    pattern: str = ""

    @property
    def place(self) -> Reference:
        """The reference without the tag or digest; equal for all bundles of one place."""
        return place_of(self.reference)


def parse(text: str) -> Wanted:
    """Read a reference to bundles of a place; raises `UsageError` for an archive, and for one without a tag or digest."""
    match = _PATTERN.fullmatch(text)
    parsed = reference.parse(f"{match[1]}:x" if match else text)
    check_place(parsed, text)
    if not match and not reference.is_exact(text, parsed):
        raise UsageError(
            f"{text[:200]!r} names no single bundle", hint="Add :TAG or @sha256:…, or a tag with wildcards, such as :2026-*"
        )
    return Wanted(text, parsed, match[2] if match else "")


def check_place(parsed: Reference, text: str) -> None:
    """Raises `UsageError` for an archive or a pipe, in which nothing can be removed."""
    if isinstance(parsed, ArchiveReference):
        raise UsageError(
            f"{text[:200]!r} is an archive, which is never changed in place",
            hint="Copy what you need to another archive, then delete the file.",
        )


def place_of(parsed: Reference) -> Reference:
    """Return the reference of a place, without the bundle in it."""
    if isinstance(parsed, RegistryReference):
        return RegistryReference(parsed.registry, parsed.repository)
    if isinstance(parsed, LayoutReference):
        return LayoutReference(parsed.path)
    return LocalReference("")


def matching(entries: Sequence[Entry], wanted: Wanted, place: Place) -> list[Entry]:
    """Return the entries that a reference means; raises `NotFoundError`.

    Wildcards match tags only. A digest is that of the manifest, or of the bundle that a delta makes.
    """
    found = [entry for entry in entries if _is_meant(entry, wanted)]
    digest = wanted.reference.digest
    if not found and digest and not isinstance(wanted.reference, LocalReference):
        found = [place.find(digest)]
    if not found:
        names = sorted(entry.named.name for entry in entries if entry.kind is EntryKind.TAG)
        available = f"Available: {', '.join(names[:20])}" if names else "There are no tags in it."
        raise NotFoundError(f"{wanted.text}: no such bundle", hint=available)
    if other := next((entry for entry in found if entry.kind is EntryKind.OTHER), None):
        raise no_bundle(other.shown, "another artifact")
    return found


def with_dependents(entries: Sequence[Entry], chosen: Sequence[Entry]) -> list[Entry]:
    """Return the chosen entries, and the tags that deltas left on the manifests that go with them.

    Raises `UsageError` when a chosen bundle is the source of a delta that stays, and `IntegrityError` for an entry that
    stays and cannot be read, as it may need what goes.
    """
    others = [entry for entry in entries if entry not in chosen]
    kept = {entry.manifest for entry in others if entry.kind is not EntryKind.SOURCE}
    gone = {entry.manifest for entry in chosen} - kept
    going = [*chosen, *(entry for entry in others if entry.kind is EntryKind.SOURCE and entry.manifest in gone)]
    stays = [entry for entry in others if entry not in going]
    _check_readable(stays)
    for delta in stays:
        if delta.source and (sources := providers(delta, going)) and not providers(delta, stays):
            raise UsageError(
                f"{sources[0].shown} is the source of the delta {delta.shown}, which stays",
                hint="Remove that delta in the same command, or first replace it by the bundle: copy it with --rebuild.",
            )
    return going


def providers(delta: Entry, entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries that are or make the source of a delta: those by which it is stored beside the delta, if they exist."""
    source = delta.source
    found = [entry for entry in entries if source and entry.bundle == source.digest]
    return [entry for entry in found if source and entry.manifest == source.stored] or found


def expand(place: Place, wanted: Sequence[Wanted]) -> list[Wanted]:
    """Return the references with one for each tag that a wildcard matches; raises `NotFoundError`."""
    entries = place.entries() if any(it.pattern for it in wanted) else ()
    found: list[Wanted] = []
    for item in wanted:
        found += [_exact(entry, item) for entry in matching(entries, item, place)] if item.pattern else [item]
    return found


def remove(place: Place, wanted: Sequence[Wanted], *, dry_run: bool) -> Removed:
    """Remove bundles and what refers to them, such as signatures; a bundle that keeps another tag loses only its name.

    Raises `NotFoundError`, `BusyError`, what `with_dependents` raises, and `StoreError` where the registry refuses it.
    """
    with place.locked():
        entries = place.entries()
        chosen = _chosen(entries, wanted, place)
        removal = place.removal(entries, with_dependents(entries, chosen), sweep=False)
        removed = removal.describe()
        if not dry_run:
            removal.carry_out()
    return removed


def untag(place: Place, wanted: Sequence[Wanted], *, dry_run: bool) -> list[Entry]:
    """Remove tags, and keep their bundles; returns the entries that the tags had."""
    for item in wanted:
        if item.reference.digest:
            raise UsageError(f"{item.text}: a digest is no tag", hint="Name a tag, or remove the bundle with fps-bundle rm.")
    with place.locked():
        entries = place.entries()
        chosen = list(dict.fromkeys(entry for item in wanted for entry in matching(entries, item, place)))
        _check_sources(entries, chosen)
        if not dry_run:
            place.untag(chosen)
    return chosen


def tag(place: Place, wanted: Wanted, target: Wanted) -> tuple[Entry, Displaced | None]:
    """Give a bundle another tag in its place, which was opened for that tag; returns its entry, and the bundle that had the tag."""
    check_target(wanted, target)
    entries = place.entries()
    entry = matching(entries, wanted, place)[0]
    if entry.bundle is None:
        raise IntegrityError(entry.fault or f"{wanted.text} is not a bundle")
    return entry, place.set_tag(entry, _name(target.reference))


def check_target(wanted: Wanted, target: Wanted) -> None:
    """Raises `UsageError` unless a bundle can be given a tag where it is."""
    if wanted.pattern or target.pattern or target.reference.digest:
        raise UsageError("tag needs one bundle and one new tag", hint="For example: fps-bundle tag detector:7 detector:stable")
    if wanted.place != target.place:
        raise UsageError(
            f"{wanted.text} and {target.text} are different places",
            hint="Copy it:",
            command=f"fps-bundle copy {wanted.text} {target.text}",
        )


def _chosen(entries: Sequence[Entry], wanted: Sequence[Wanted], place: Place) -> list[Entry]:
    """Return the entries to remove; raises `UsageError` for a digest with a tag that is not named as well."""
    by_tag = [entry for item in wanted if not item.reference.digest for entry in matching(entries, item, place)]
    by_digest = [entry for item in wanted if item.reference.digest for entry in matching(entries, item, place)]
    manifests = {entry.manifest for entry in by_digest}
    tags = [it for it in entries if it.manifest in manifests and it.kind in _TAGS and it not in by_tag]
    if tags:
        raise UsageError(
            f"{tags[0].manifest} has tags: {', '.join(sorted(entry.shown for entry in tags))}",
            hint="Name its tags instead of the digest.",
        )
    return list(dict.fromkeys([*by_tag, *by_digest]))


def _is_meant(entry: Entry, wanted: Wanted) -> bool:
    parsed, name = wanted.reference, entry.named.name
    if parsed.digest:
        named = not isinstance(parsed, LocalReference) or without_tag(name) == parsed.name
        return named and parsed.digest in (entry.manifest, entry.bundle) and entry.kind is not EntryKind.SOURCE
    if not wanted.pattern:
        return bool(name) and name == _name(parsed)
    prefix = f"{parsed.name}:" if isinstance(parsed, LocalReference) else ""
    return entry.kind is EntryKind.TAG and name.startswith(prefix) and fnmatchcase(name.removeprefix(prefix), wanted.pattern)


def _name(parsed: Reference) -> str:
    return str(parsed) if isinstance(parsed, LocalReference) else parsed.tag


def _exact(entry: Entry, wanted: Wanted) -> Wanted:
    name = entry.named.name
    tag = name.rpartition(":")[2] if isinstance(wanted.reference, LocalReference) else name
    parsed = replace(wanted.reference, tag=tag)
    return Wanted(str(parsed), parsed)


def _check_sources(entries: Sequence[Entry], chosen: Sequence[Entry]) -> None:
    """Raises `UsageError` for the tag that keeps the source of a delta from the registry's garbage collection."""
    for entry in chosen:
        deltas = [it.shown for it in entries if it.source and it.source.digest == entry.bundle]
        if entry.kind is EntryKind.SOURCE and deltas:
            raise UsageError(f"{entry.shown} keeps the source of the delta {deltas[0]}", hint="Remove that delta first.")


def _check_readable(entries: Iterable[Entry]) -> None:
    if damaged := [entry for entry in entries if entry.fault]:
        raise IntegrityError(
            f"{damaged[0].shown} cannot be read, so it is unknown what it needs: {damaged[0].fault}",
            hint=f"Remove it in the same command: {', '.join(entry.shown for entry in damaged[:20])}",
        )
