"""Which bundles of the local store a prune chooses; what becomes of the files is in ``contract/test_local.py``."""

from __future__ import annotations

import pytest

from bundler.format import artifact
from bundler.format.content import Descriptor, Digest
from bundler.ports import Named
from bundler.stores.layout.prune import choose

A, B, C, D, X = (Descriptor.of(artifact.MANIFEST, name.encode()) for name in "ABCDX")
CREATED = {item.digest: f"2026-01-0{day}T00:00:00Z" for day, item in enumerate((A, B, C, D), start=1)}
HISTORY = [Named(f"m@{item.digest}", item) for item in (B, A, C)]
OTHER = Named(f"other@{A.digest}", A)
DAMAGED = Named(f"m@{X.digest}", X)
REFERRER = Named("", Descriptor.of(artifact.MANIFEST, b"signature"))


@pytest.mark.parametrize(
    ("named", "keep", "going"),
    [
        (HISTORY, 3, ""),
        (HISTORY, 2, "A"),
        (HISTORY, 0, "BAC"),
        ([*HISTORY, Named("m:1", D)], 3, "A"),
        ([*HISTORY, Named("m:old", A)], 2, ""),
        ([*HISTORY, Named("m:old", A)], 0, "BC"),
        ([*HISTORY, Named("m:2", A), Named("m:3", A)], 1, "B"),
        ([*HISTORY, OTHER], 2, "A"),
        ([OTHER, Named("m:1", A)], 0, "A"),
        ([Named("nobody's", A), Named("m:1", A)], 0, ""),
        ([*HISTORY, DAMAGED], 2, "A"),
        ([*HISTORY, DAMAGED], 0, "BACX"),
        ([Named("m:1", X)], 0, ""),
    ],
)
def test_tagged_bundles_and_the_newest_of_each_name_stay(named: list[Named], keep: int, going: str) -> None:
    chosen = choose(named, CREATED, keep)
    assert "".join("ABCDX"[(A, B, C, D, X).index(item.manifest)] for item in chosen) == going


@pytest.mark.parametrize(("readable", "keep", "goes"), [(True, 0, False), (False, 3, False), (False, 0, True)])
def test_what_refers_to_a_bundle_is_not_chosen_unless_nobody_can_read_it(readable: bool, keep: int, goes: bool) -> None:
    created = {REFERRER.manifest.digest: ""} if readable else dict[Digest, str]()
    assert choose([REFERRER], created, keep) == ([REFERRER] if goes else [])
