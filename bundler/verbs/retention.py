"""Retention: which bundles of a place a policy keeps, and the removal of the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from bundler.errors import NotFoundError
from bundler.format.content import Digest
from bundler.ports import Entry, EntryKind, Place, Removed
from bundler.verbs import names

_UNDATED = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Policy:
    """What to keep of each group of bundles: the newest N, and the newest of each of the last N days, weeks and months.

    Days, weeks (ISO 8601) and months are those of UTC. Only those with a bundle count. ``tags`` are patterns of tags to keep.
    Without any rule about times, bundles with a tag are kept, and those of the newest ``untagged`` that have none.
    """

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    tags: tuple[str, ...] = ()
    untagged: int = 3

    @property
    def has_rules(self) -> bool:
        """Whether bundles with a tag can be removed."""
        return bool(self.last or self.daily or self.weekly or self.monthly)


@dataclass(frozen=True)
class Dated:
    """A bundle with its tags and its time of creation, which is None if the bundle records no valid one."""

    digest: Digest
    created: datetime | None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """A bundle that is kept, by its names, and why."""

    names: tuple[str, ...]
    digest: Digest
    created: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Pruned:
    """The result of a prune: what was removed, or in a dry run would be, and what is kept."""

    removed: Removed
    kept: Sequence[Kept]


def time(text: str) -> datetime | None:
    """Read a time of RFC 3339 as one in UTC, which a time without an offset is taken for; None for another text."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def choose(bundles: Sequence[Dated], policy: Policy) -> dict[Digest, tuple[str, ...]]:
    """Return the bundles of one group to keep, with the reasons.

    Of bundles of the same time one with a tag counts as newer, then the one with the greater digest. A bundle without a
    valid time is kept.
    """
    reasons: dict[Digest, list[str]] = {bundle.digest: [] for bundle in bundles}
    for bundle in bundles:
        reasons[bundle.digest] += ["has no valid time"] if bundle.created is None else []
        reasons[bundle.digest] += [f"tag {tag}" for tag in bundle.tags if any(fnmatchcase(tag, it) for it in policy.tags)]
    newest = sorted(bundles, key=lambda it: (it.created or _UNDATED, bool(it.tags), it.digest), reverse=True)
    if policy.has_rules:
        for count, reason, period in _rules(policy):
            for bundle in _newest_of_each(newest, period, count):
                reasons[bundle.digest].append(reason)
    else:
        for bundle in bundles:
            reasons[bundle.digest] += ["has a tag"] if bundle.tags else []
        for bundle in newest[: policy.untagged]:
            reasons[bundle.digest].append("newest")
    return {digest: tuple(found) for digest, found in reasons.items() if found}


def prune(place: Place, policy: Policy, group: str = "", *, dry_run: bool) -> Pruned:
    """Remove the bundles of a place that a policy does not keep, with what refers to them, and content that no bundle needs.

    Sources of deltas that are kept stay. With ``group`` other groups are left alone. Raises `NotFoundError` for an unknown
    group, `BusyError` while another process uses the place, and `IntegrityError` when what stays cannot be read.
    """
    with place.locked():
        entries = place.entries()
        if group and all(entry.group != group for entry in entries):
            available = ", ".join(sorted({entry.group for entry in entries if entry.group})[:20])
            raise NotFoundError(f"{group}: no such name in the local store", hint=f"Available: {available}" if available else "")
        reasons = keep(entries, policy, group)
        going = [entry for entry in entries if entry.kind in _COUNTED and entry.manifest not in reasons]
        removal = place.removal(entries, names.with_dependents(entries, going + _unneeded(entries, reasons)), sweep=True)
        removed = removal.describe()
        if not dry_run:
            removal.carry_out()
    shown = sorted((it for it in entries if group in ("", it.group) and it.manifest in reasons), key=_age)
    return Pruned(removed, [_kept(shown, digest, reasons[digest]) for digest in dict.fromkeys(it.manifest for it in shown)])


_COUNTED = (EntryKind.TAG, EntryKind.UNTAGGED)


def keep(entries: Sequence[Entry], policy: Policy, group: str = "") -> dict[Digest, tuple[str, ...]]:
    """Return the manifests to keep, with the reasons: those that the policy chooses, and the sources of deltas that are kept."""
    counted = [entry for entry in entries if entry.kind in _COUNTED]
    reasons: dict[Digest, tuple[str, ...]] = {}
    for name in dict.fromkeys(entry.group for entry in counted):
        members = [entry for entry in counted if entry.group == name]
        chosen = choose(_dated(members), policy) if group in ("", name) else {}
        for entry in members:
            if entry.fault or group not in ("", name):
                reasons[entry.manifest] = ("cannot be read",) if entry.fault else ("another name",)
            elif entry.bundle in chosen:
                reasons[entry.manifest] = chosen[entry.bundle]
    return reasons | _sources(entries, reasons)


def _rules(policy: Policy) -> list[tuple[int, str, Callable[[Dated, datetime], object]]]:
    """Return how many periods each rule keeps a bundle of, and the period of a bundle; for the newest each is one of its own."""
    return [
        (policy.last, "last", lambda bundle, _: bundle.digest),
        (policy.daily, "daily", lambda _, created: created.date()),
        (policy.weekly, "weekly", lambda _, created: created.isocalendar()[:2]),
        (policy.monthly, "monthly", lambda _, created: (created.year, created.month)),
    ]


def _newest_of_each(bundles: Sequence[Dated], period: Callable[[Dated, datetime], object], count: int) -> Sequence[Dated]:
    """Return the first bundle of each of the first ``count`` periods; bundles without a time have none."""
    first: dict[object, Dated] = {}
    for bundle in bundles:
        if bundle.created:
            first.setdefault(period(bundle, bundle.created), bundle)
    return list(first.values())[:count]


def _dated(entries: Sequence[Entry]) -> list[Dated]:
    """Return each bundle once, with all of its tags."""
    tags: dict[Digest, list[str]] = {}
    created: dict[Digest, str] = {}
    for entry in entries:
        if entry.bundle:
            created[entry.bundle] = entry.created
            tags.setdefault(entry.bundle, []).extend([_tag(entry)] if entry.kind is EntryKind.TAG else [])
    return [Dated(digest, time(text), tuple(tags[digest])) for digest, text in created.items()]


def _age(entry: Entry) -> tuple[str, datetime, str]:
    return entry.group, time(entry.created) or _UNDATED, entry.named.name


def _tag(entry: Entry) -> str:
    return entry.named.name.rpartition(":")[2]


def _sources(entries: Sequence[Entry], reasons: Mapping[Digest, tuple[str, ...]]) -> dict[Digest, tuple[str, ...]]:
    """Return the sources of the deltas that are kept, and theirs, as far as they are not kept anyway."""
    found: dict[Digest, tuple[str, ...]] = {}
    by_bundle: dict[Digest | None, list[Entry]] = {}
    for entry in entries:
        by_bundle.setdefault(entry.bundle, []).append(entry)
    waiting = [entry for entry in entries if entry.source and entry.manifest in reasons]
    while waiting:
        delta = waiting.pop()
        sources = by_bundle.get(delta.source.digest, []) if delta.source else []
        if all(entry.manifest not in reasons and entry.manifest not in found for entry in sources):
            for entry in names.providers(delta, sources)[:1]:
                found[entry.manifest] = (f"source of {delta.shown}",)
                waiting.append(entry)
    return found


def _unneeded(entries: Sequence[Entry], kept: Collection[Digest]) -> list[Entry]:
    """Return the tags of sources whose deltas are gone, where no other name keeps the manifest."""
    counted = {entry.manifest for entry in entries if entry.kind in _COUNTED}
    return [it for it in entries if it.kind is EntryKind.SOURCE and it.manifest not in kept and it.manifest not in counted]


def _kept(entries: Sequence[Entry], digest: Digest, reasons: tuple[str, ...]) -> Kept:
    same = [entry for entry in entries if entry.manifest == digest]
    return Kept(tuple(entry.named.name for entry in same if entry.named.name), digest, same[0].created, reasons)
