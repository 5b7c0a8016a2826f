"""Random states of a model: hypothesis draws what happens to them, ``state_maker.py`` makes it happen in a container."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

Changes = dict[str, Any]
"""What happens to one state in one generation, and what the model exports of it then."""

BIG = (70 << 20, 64 << 20, 300 << 20, (64 << 20) + 1)
"""Sizes of files that are layers of their own."""

_names = (
    st.one_of(
        st.text("ab-. ~☃%\n", min_size=1, max_size=6).map(str.encode),
        st.binary(min_size=1, max_size=40),
        st.integers(90, 255).map(lambda length: b"n" * length),
    )
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda raw: raw not in (b".", b"..") and not raw.startswith(b".wh."))
)
_targets = st.one_of(_names, st.lists(_names, min_size=1, max_size=12).map(b"/".join), st.sampled_from([b"/", b"..", b"/srv/base"]))
_owners = st.one_of(st.sampled_from([0, 1000, 65534, 2**31 + 5, 2**32 - 2]), st.integers(0, 2**21 + 2))
_times = st.builds(
    lambda seconds, rest: seconds * 10**9 + rest,
    st.one_of(st.sampled_from([0, 1, 7258118400]), st.integers(0, 2**33)),
    st.sampled_from([0, 250_000_000, 999_999_999]),
)
_sizes = st.one_of(st.sampled_from([0, 1, 511, 512, 513, 1 << 20]), st.integers(0, 200_000))
_kinds = ["file"] * 6 + ["directory"] * 3 + ["hardlink"] * 4 + ["symlink"] * 2 + ["deep", "wide", "fifo", "socket", "device"]
_capabilities = [b"", b"", bytes.fromhex("0100000200040000000000000000000000000000")]
_which = st.integers(0, 2**20)

_operations = st.fixed_dictionaries(
    {
        "do": st.sampled_from(["make"] * 10 + ["replace"] * 3 + ["change"] * 4 + ["rename"] * 2 + ["remove"] * 2),
        "kind": st.sampled_from(_kinds),
        "which": _which,
        "other": _which,
        "name": _names.map(bytes.hex),
        "target": _targets.map(bytes.hex),
        "size": _sizes,
        "mode": st.integers(0, 0o7777),
        "uid": _owners,
        "gid": _owners,
        "mtime": _times,
        "capability": st.sampled_from(_capabilities).map(bytes.hex),
    }
)
_exports = st.fixed_dictionaries(
    {
        "what": st.sampled_from(["state"] * 5 + ["base"] * 4 + ["any"] * 2 + ["behind a link"] * 2),
        "which": _which,
        "slash": st.booleans(),
        "times": st.integers(1, 2),
    }
)
_changes = st.fixed_dictionaries(
    {
        "operations": st.lists(_operations, min_size=20, max_size=50),
        "exports": st.lists(_exports, min_size=1, max_size=5),
    }
)

PLAIN_EXPORTS = [{"what": what, "which": 0, "slash": False, "times": 1} for what in ("state", "base")]


def draw(count: int, name: str) -> list[Changes]:
    """So many changes, always the same for one ``name``."""
    drawn: list[Changes] = []

    @seed(name)
    @settings(max_examples=count, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(_changes)
    def collect(changes: Changes) -> None:
        drawn.append(changes)

    collect()
    return drawn[:count]


def with_big_file(changes: Changes, size: int) -> Changes:
    """The same, but for a file of ``size`` bytes with two names that is there before all else, and exported."""
    big = {"do": "make", "kind": "two-names", "which": 0, "other": 0, "name": b"big".hex(), "size": size}
    dress = {"mode": 0o640, "uid": 1, "gid": 2, "mtime": 3, "capability": ""}
    return {"operations": [{**big, **dress}, *changes["operations"]], "exports": [*changes["exports"], *PLAIN_EXPORTS]}
