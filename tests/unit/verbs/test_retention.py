"""Which bundles a policy keeps: values in, values out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bundler.errors import IntegrityError, UsageError
from bundler.format import artifact, delta_manifest
from bundler.format.content import Descriptor, Digest
from bundler.format.delta_manifest import DeltaSource
from bundler.ports import Entry, EntryKind, Named
from bundler.verbs.names import with_dependents
from bundler.verbs.retention import Dated, Policy, choose, keep, time

WEEKS = {
    "a": "2026-11-30T23:59:59Z",  # Monday
    "b": "2026-11-29T12:00:00Z",  # Sunday
    "c": "2026-11-29T01:00:00Z",
    "d": "2026-11-23T00:00:00Z",  # Monday
    "e": "2026-11-22T23:00:00Z",  # Sunday
    "f": "2026-10-31T00:00:00Z",
    "g": "2025-11-30T00:00:00Z",
}


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def dated(times: dict[str, str], **tags: str) -> list[Dated]:
    return [Dated(digest(name), time(text), (tags[name],) if name in tags else ()) for name, text in times.items()]


def kept(bundles: list[Dated], policy: Policy, names: str) -> str:
    chosen = choose(bundles, policy)
    return "".join(name for name in names if digest(name) in chosen)


@pytest.mark.parametrize(
    ("policy", "stays"),
    [
        (Policy(last=1), "a"),
        (Policy(last=3), "abc"),
        (Policy(last=99), "abcdefg"),
        (Policy(daily=1), "a"),
        (Policy(daily=2), "ab"),
        (Policy(daily=4), "abde"),
        (Policy(weekly=1), "a"),
        (Policy(weekly=2), "ab"),
        (Policy(weekly=3), "abe"),
        (Policy(weekly=5), "abefg"),
        (Policy(monthly=1), "a"),
        (Policy(monthly=3), "afg"),
        (Policy(last=2, monthly=3), "abfg"),
        (Policy(daily=3, weekly=3), "abde"),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_the_newest_of_each_period_with_a_bundle_stays(policy: Policy, stays: str, backwards: bool) -> None:
    bundles = dated(WEEKS)
    assert kept(bundles[::-1] if backwards else bundles, policy, "abcdefg") == stays


def test_several_rules_can_keep_one_bundle() -> None:
    assert choose(dated(WEEKS), Policy(last=1, weekly=1))[digest("a")] == ("last", "weekly")


def test_days_are_those_of_utc() -> None:
    times = {
        "a": "2026-03-01T01:00:00+02:00",
        "b": "2026-02-28T22:00:00Z",
        "c": "2026-02-28T21:30:00-01:00",
        "d": "2026-02-28T00:00:00",
    }
    assert kept(dated(times), Policy(daily=5), "abcd") == "a"
    assert time("2026-03-01T01:00:00+02:00") == datetime(2026, 2, 28, 23, tzinfo=UTC)


def test_the_week_of_a_year_is_the_one_of_iso_8601() -> None:
    times = {"a": "2027-01-03T00:00:00Z", "b": "2026-12-28T00:00:00Z", "c": "2026-12-27T00:00:00Z"}
    assert kept(dated(times), Policy(weekly=9), "abc") == "ac"


def test_of_equal_times_the_one_with_a_tag_stays_and_then_always_the_same() -> None:
    times = dict.fromkeys("abc", "2026-01-01T00:00:00Z")
    assert kept(dated(times, b="7"), Policy(last=1), "abc") == "b"
    first = choose(dated(times), Policy(daily=1))
    assert len(first) == 1
    assert choose(dated(times)[::-1], Policy(daily=1)) == first


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00"]
)
def test_a_bundle_without_a_valid_time_stays_and_is_not_counted(text: str) -> None:
    assert time(text) is None
    assert kept(dated({"a": text, "b": "2026-01-02T00:00:00Z", "c": "2026-01-01T00:00:00Z"}), Policy(last=1), "abc") == "ab"


def test_tags_that_match_a_pattern_stay() -> None:
    assert kept(dated(WEEKS, e="stable", f="v1"), Policy(last=1, tags=("stable", "v*")), "abcdefg") == "aef"


def test_without_a_rule_tags_stay_and_the_newest_others() -> None:
    assert kept(dated(WEEKS, b="7", f="6"), Policy(untagged=1), "abcdefg") == "abf"
    assert kept(dated(WEEKS, b="7", f="6"), Policy(untagged=0), "abcdefg") == "bf"


def entry(name: str, created: str = "", kind: EntryKind = EntryKind.TAG, group: str = "m", **changes: object) -> Entry:
    """An entry of a bundle; ``source`` makes it a delta from the bundle of that name."""
    source = changes.pop("source", None)
    stored = changes.pop("stored", source)
    described = DeltaSource(digest(str(source)), (), str(source), digest(str(stored))) if source else None
    manifest = Descriptor(artifact.MANIFEST, digest(str(changes.pop("manifest", name))), 1)
    values = {"bundle": digest(name), "source": described, **changes}
    return Entry(Named(name, manifest), kind, group, created=created, **values)  # type: ignore[arg-type]


def stays(entries: list[Entry], policy: Policy, group: str = "") -> str:
    found = keep(entries, policy, group)
    return "".join(it.named.name for it in entries if it.manifest in found)


def test_each_name_is_counted_alone() -> None:
    entries = [entry("a", WEEKS["a"]), entry("b", WEEKS["b"]), entry("c", WEEKS["c"], group="n")]
    assert stays(entries, Policy(last=1)) == "ac"
    assert stays(entries, Policy(last=1), "n") == "abc"


def test_sources_of_deltas_that_are_kept_stay_with_their_own_sources() -> None:
    entries = [
        entry("c", WEEKS["a"], source="b"),
        entry("b", WEEKS["d"], source="a"),
        entry("a", WEEKS["f"]),
        entry("z", WEEKS["g"]),
    ]
    assert stays(entries, Policy(last=1)) == "cba"
    assert keep(entries, Policy(last=1))[digest("a")] == ("source of b",)


def test_of_several_sources_the_one_stays_by_which_it_is_stored_unless_another_is_kept() -> None:
    twice = [entry("s", WEEKS["f"], manifest="whole"), entry("s", WEEKS["f"], manifest="delta")]
    delta = entry("c", WEEKS["a"], source="s", stored="delta")
    found = keep([delta, *twice], Policy(last=1))
    assert (digest("delta") in found, digest("whole") in found) == (True, False)


def test_a_loop_of_deltas_ends() -> None:
    assert stays([entry("a", WEEKS["a"], source="b"), entry("b", WEEKS["b"], source="a")], Policy(last=1)) == "ab"


def test_what_cannot_be_read_and_what_is_no_bundle_is_not_counted() -> None:
    entries = [
        entry("a", WEEKS["b"]),
        entry("x", bundle=None, fault="damaged"),
        entry("delta-0", WEEKS["a"], EntryKind.NEXT_SOURCE),
        entry("image", kind=EntryKind.OTHER, bundle=None),
    ]
    assert stays(entries, Policy(last=1)) == "ax"


def test_the_source_of_a_delta_goes_only_with_it() -> None:
    source, delta = entry("a"), entry("b", source="a")
    with pytest.raises(UsageError, match="a is the source of the delta b, which stays"):
        with_dependents([source, delta], [source])
    assert with_dependents([source, delta], [source, delta]) == [source, delta]
    assert with_dependents([source, delta], [delta]) == [delta]


def test_a_source_can_go_where_another_tag_or_delta_keeps_it() -> None:
    source, delta, twin = entry("a"), entry("b", source="a", stored="other"), entry("a", manifest="other")
    other_tag = Entry(Named("also", source.named.manifest), EntryKind.TAG, bundle=source.bundle)
    assert with_dependents([source, delta, twin], [source]) == [source]
    assert with_dependents([source, delta, other_tag], [source]) == [source]


def test_the_tag_that_a_delta_left_on_its_source_goes_with_the_last_other_tag() -> None:
    source = entry("a")
    left = Entry(Named(delta_manifest.source_tag(source.manifest), source.named.manifest), EntryKind.SOURCE, bundle=source.bundle)
    also = Entry(Named("also", source.named.manifest), EntryKind.TAG, bundle=source.bundle)
    assert with_dependents([source, left], [source]) == [source, left]
    assert with_dependents([source, left, also], [source]) == [source]
    with pytest.raises(UsageError, match="is the source"):
        with_dependents([source, left, entry("b", source="a")], [source])


def test_nothing_goes_while_something_that_stays_cannot_be_read() -> None:
    damaged = entry("x", bundle=None, fault="x: bad")
    with pytest.raises(IntegrityError, match="x cannot be read") as refused:
        with_dependents([entry("a"), damaged], [entry("a")])
    assert "x" in refused.value.hint
    assert with_dependents([entry("a"), damaged], [damaged]) == [damaged]
