"""The part of the page about deltas: their targets, and two tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import delta_peers
import deltas
from tables import Bar, markdown

MEMORY = 200
MAKING, REBUILDING = 0.8, 1.0
"""Most time that making and rebuilding may take, in times of packing the state."""


def bars(found: Mapping[str, Any]) -> Iterator[Bar]:
    """What a delta may take; bytes are in proportion to the size of the state."""
    results = found["results"]
    packing, making, rebuilding = (_median(results[name], "seconds") for name in (deltas.PACK, deltas.MAKE, deltas.REBUILD))
    yield _bytes("delta of the whole state", _median(results[deltas.MAKE], "produced"), deltas.MOST * found["part"])
    yield Bar(f"making a delta ≤ {MAKING} × packing the state", making, MAKING * packing, "s")
    yield Bar(f"rebuilding and storing a delta ≤ {REBUILDING} × packing the state", rebuilding, REBUILDING * packing, "s")
    for name in (deltas.MAKE, deltas.REBUILD):
        yield Bar(f"peak memory of {name} ≤ {MEMORY} MiB", _peak(results[name]), MEMORY, "MiB")
    for name, kind in found["kinds"].items():
        if "absent" not in kind and (most := _most(kind)):
            yield _bytes(f"delta of {name}", _median(kind["results"][deltas.MAKE], "produced"), most)


def sections(found: Mapping[str, Any]) -> list[str]:
    """The tables of the page, and the text before each."""
    whole = _median(found["results"][deltas.PACK], "seconds")
    rows = [_row(name, it, whole) for name, it in found["results"].items()]
    text = [
        "## Deltas",
        "1 % of the pages of 4 KiB of the weights are replaced, and 1 % is appended to the logs. Both bundles are in the local "
        "store of the host that makes the delta. Only the old one is in that of the host that rebuilds the new one. "
        "`packing the state` is the work of a push with the direct reader, without engine and model. "
        "zstd and xdelta3 get only the files that changed.",
        markdown(("what", "s", "× packing", "CPU s", "peak MiB", "MB made"), rows),
    ]
    if kinds := found["kinds"]:
        head = ("change", "delta, bytes", "allowed", *(f"{name}, bytes" for name in _PEERS), "making it, s", "peak MiB")
        text += [
            "Other kinds of change, once each, with both states in full. An allowed size that refers to zstd is a multiple of what "
            f"`{delta_peers.ZSTD}` takes.",
            markdown(head, [_kind_row(name, kind) for name, kind in kinds.items()]),
        ]
    return text


_PEERS = (delta_peers.ZSTD, delta_peers.XDELTA)


def _row(name: str, it: Mapping[str, Any], whole: float) -> Sequence[str]:
    text = f"**{name}**" if name in (deltas.PACK, deltas.MAKE, deltas.REBUILD) else name
    if not it["runs"]:
        return (text, f"absent: {it['absent']}", "", "", "", "")
    seconds, produced = _median(it, "seconds"), _median(it, "produced")
    made = f"{produced / 1e6:.2f}" if produced else ""
    return (text, f"{seconds:.2f}", f"{seconds / whole:.2f}", f"{_median(it, 'cpu'):.2f}", f"{_peak(it):.0f}", made)


def _kind_row(name: str, kind: Mapping[str, Any]) -> Sequence[str]:
    if "absent" in kind:
        return (name, f"left out: {kind['absent']}", *("" for _ in range(3 + len(_PEERS))))
    results, most = kind["results"], _most(kind)
    peers = [f"{_median(it, 'produced'):,.0f}" if (it := results[peer])["runs"] else f"absent: {it['absent']}" for peer in _PEERS]
    ours = results[deltas.MAKE]
    allowed = f"{most:,.0f}" if most else "unknown"
    return (name, f"{_median(ours, 'produced'):,.0f}", allowed, *peers, f"{_median(ours, 'seconds'):.2f}", f"{_peak(ours):.0f}")


def _most(kind: Mapping[str, Any]) -> float | None:
    """The most bytes that a delta of this kind may take; None where zstd, to which it is compared, was not measured."""
    if not kind["times_zstd"]:
        return float(kind["most"])
    zstd = kind["results"][delta_peers.ZSTD]
    return kind["most"] * _median(zstd, "produced") if zstd["runs"] else None


def _bytes(what: str, measured: float, allowed: float) -> Bar:
    return Bar(f"{what} ≤ {allowed / 1e3:,.1f} kB", measured / 1e3, allowed / 1e3, "kB")


def _median(it: Mapping[str, Any], key: str) -> float:
    return statistics.median(run[key] for run in it["runs"])


def _peak(it: Mapping[str, Any]) -> float:
    return max(run["peak"] for run in it["runs"]) / (1 << 20)
