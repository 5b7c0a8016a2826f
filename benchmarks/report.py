"""Makes ``performance.md`` and ``performance.png`` from the measurements of ``run.py``.

It also prints each target and whether it was met; the exit code is 1 when one was missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import applies
import delta_report
import matplotlib as mpl
import pushes
import scaling
import shapes
import where
from tables import Bar, markdown

mpl.use("Agg")
from matplotlib import pyplot as plt

OURS = "#1f6f8b"
OTHERS = "#b8b8b8"
VERIFYING = 600e6
"""Bytes per second at which a bundle must be verified at least."""
MEMORY = 200
"""MiB that none of our commands may exceed."""

SAVED = (pushes.COMMIT, pushes.SAVE)
PUSH_ROWS: tuple[tuple[str, ...], ...] = (
    (pushes.READ,),
    (pushes.DIRECT,),
    (pushes.API,),
    ("docker cp | zstd",),
    ("docker cp | sha256sum | zstd | sha256sum",),
    SAVED,
    (pushes.REGISTRY,),
    (pushes.UPLOAD,),
    ("curl to a registry",),
    (pushes.COMMIT, "docker push"),
    (pushes.COMMIT, "skopeo copy"),
    ("docker cp to disk, tar | zstd, curl",),
    ("docker cp to disk, tar | zstd, oras push",),
)
APPLY_ROWS = (
    (applies.LOAD,),
    (applies.VERIFIED,),
    (applies.UNVERIFIED,),
    (applies.REMOTE,),
    (applies.VERIFY,),
    ("zstd -d",),
    ("zstd -d | tar -x",),
    ("zstd -d | docker load",),
    ("docker create, docker cp, docker commit",),
    ("docker pull",),
)
PROGRAM = "fps-bundle"


class Measured:
    """The numbers of a run."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        self.results: dict[str, Any] = found.get("results", {})

    def median(self, *names: str, key: str = "seconds") -> float | None:
        """Return the median over the rounds of the sum of these rows; None if one of them was not measured."""
        runs = [self.results.get(name, {}).get("runs", []) for name in names]
        return statistics.median(sum(run[key] for run in round_) for round_ in zip(*runs, strict=True)) if all(runs) else None

    def of(self, name: str, key: str = "seconds") -> float:
        found = self.median(name, key=key)
        assert found is not None, name
        return found

    def absent(self, names: Sequence[str]) -> str:
        return next((reason for name in names if (reason := self.results.get(name, {}).get("absent"))), "not measured")

    def is_ours(self, names: Sequence[str]) -> bool:
        return PROGRAM in self.results.get(names[0], {}).get("command", "")

    @property
    def sizes(self) -> dict[str, Any]:
        """The results at each size."""
        return {name: it for name, it in self.found.get("scaling", {}).items() if "results" in it}


def bars(measured: Measured) -> list[Bar]:
    """Return the targets of a run, as far as it measured them."""
    return [
        *_startup_bars(measured),
        *_transfer_bars(measured),
        *_shape_bars(measured),
        *_delta_bars(measured),
        *_scaling_bars(measured),
    ]


def _startup_bars(measured: Measured) -> Iterator[Bar]:
    seconds = measured.found.get("startup", {}).get("seconds", {})
    for name, text in (("help", "`--help`"), ("completion", "completion"), ("list", "`list`")):
        if seconds:
            yield Bar(f"{text} ≤ 1.5 × an empty typer app", seconds[name], 1.5 * seconds["empty"])


def _transfer_bars(measured: Measured) -> Iterator[Bar]:
    if not measured.results:
        return
    of, read = measured.of, measured.of(pushes.READ)
    saved = measured.median(*SAVED)
    packing, sending, whole = of(pushes.DIRECT), of(pushes.UPLOAD), pushes.REGISTRY
    cpu = of(whole, "cpu") + of(whole, "daemons_cpu")
    load, verifying = of(applies.LOAD), of(pushes.DIRECT, "state") / VERIFYING
    assert saved is not None
    yield Bar("push, api reader ≤ 1.6 × the engine's own read", of(pushes.API), 1.6 * read)
    yield Bar("push, api reader ≤ 0.3 × docker commit + docker save | zstd", of(pushes.API), 0.3 * saved)
    yield Bar("push, direct reader ≤ 1.0 × the engine's own read", packing, read)
    yield Bar("paused in a push to a registry ≤ 1.1 × packing alone", of(whole, "paused"), 1.1 * packing)
    yield Bar(
        "push to a registry ≤ 1.15 × the largest of packing alone, upload alone, half of the CPU seconds of all processes",
        of(whole),
        1.15 * max(packing, sending, cpu / 2),
    )
    yield Bar("apply, verified before ≤ 1.15 × the engine's own load", of(applies.VERIFIED), 1.15 * load)
    yield Bar(
        "apply, not verified before ≤ 1.15 × the engine's own load + state / 600 MB/s",
        of(applies.UNVERIFIED),
        1.15 * load + verifying,
    )
    peaks = {
        name: max(run["peak"] for run in it["runs"])
        for name, it in measured.results.items()
        if it["runs"] and measured.is_ours([name])
    }
    name = max(peaks, key=lambda one: peaks[one])
    yield Bar(f"peak memory of all commands in the tables below ({name}) ≤ {MEMORY} MiB", peaks[name] / (1 << 20), MEMORY, "MiB")
    yield Bar("spool while packing ≤ 1.02 × the bundle", of(pushes.DIRECT, "disk") / of(pushes.DIRECT, "bundle"), 1.02, "×")


def _shape_bars(measured: Measured) -> Iterator[Bar]:
    if told := measured.found.get("shapes"):
        of = Measured(told).of
        yield Bar(f"push of {shapes.MANY} ≤ 3 × {shapes.ONE}", of(shapes.MANY), 3 * of(shapes.ONE))


def _delta_bars(measured: Measured) -> Iterator[Bar]:
    if found := measured.found.get("deltas"):
        yield from delta_report.bars(found)


def _scaling_bars(measured: Measured) -> Iterator[Bar]:
    for size, it in measured.sizes.items():
        peaks = {name: max(run["peak"] for run in case["runs"]) for name, case in it["results"].items()}
        name = max(peaks, key=lambda one: peaks[one])
        yield Bar(
            f"peak memory at {size}, the highest of all commands ({name}) ≤ {MEMORY} MiB", peaks[name] / (1 << 20), MEMORY, "MiB"
        )
        packed = it["results"][pushes.DIRECT]["runs"][0]
        yield Bar(f"spool at {size} ≤ 1.02 × the bundle", packed["disk"] / packed["bundle"], 1.02, "×")


def page(measured: Measured) -> str:
    """Return the text of the page."""
    found, written = measured.found, measured.found["written"]
    command = f"make bench SIZE={written} RUNS={found['runs']}" + (" BARS=yes" if found["bars_alone"] else "")
    sections = [
        "# Performance",
        f"Made by `{command}`, which took {found['minutes']:.0f} minutes. {_machine(found)}",
        "Values are medians; every row of a table ran once in every round. Files are in the page cache when they are read, and "
        "earlier writes are on the disk. `CPU s` is the CPU time of the command and its children, `daemons' CPU s` that of the "
        "engine and the registry meanwhile. Their sum divided by the cores is the time that cores without waiting would take. "
        "Memory is the peak of the command and its children together.",
        "## Targets",
        _bars_table(bars(measured)),
        "For a missed target, `all CPU s / cores` in its row below is the least time that these cores need for the work. "
        "[Where the time goes](#where-the-time-goes) shows what that work is.",
    ]
    if measured.results:
        sections += [
            _state(measured),
            "![Seconds of each command, and time and memory by the size of the state](performance.png)",
            "## From the engine to a bundle",
            _table(measured, PUSH_ROWS, pushes.READ),
            "## From a bundle to the engine",
            "`load of the layers` is the engine's own work: it loads an archive that has only our layers, uncompressed, of known "
            "length.\n\n" + _table(measured, APPLY_ROWS, applies.LOAD),
            "## Many small files",
            _shapes(measured.found["shapes"]),
            "## Where the time goes",
            _where(measured),
            "## The commands",
            "Each name in the tables stands for one command; rows with `+` run several of them.\n\n" + _commands(measured),
        ]
    if found.get("deltas"):
        sections += delta_report.sections(found["deltas"])
    if found.get("scaling"):
        sections += ["## By size", _scaling_table(measured)]
    return "\n\n".join(sections) + "\n"


def _shapes(measured: dict[str, Any]) -> str:
    nothing, one, many = map(Measured(measured).of, (shapes.NONE, shapes.ONE, shapes.MANY))
    return (
        f"With the direct reader a push of {shapes.NONE} takes {nothing:.2f} s. A push of {shapes.MANY} "
        f"({measured['bytes'] / 1e6:.0f} MB) takes {many:.2f} s, and of {shapes.ONE} {one:.2f} s. That is {many / one:.1f} × as "
        f"long, or {(many - nothing) / (one - nothing):.1f} × after subtracting the push of {shapes.NONE}."
    )


def _where(measured: Measured) -> str:
    speeds, profile = measured.found["speeds"], measured.found["where"]
    state, bundle = measured.of(pushes.DIRECT, "state"), measured.of(pushes.DIRECT, "bundle")
    cores = measured.found["machine"]["cores"]
    hashing = (3 * state + bundle) / speeds["sha256"]
    packing = (hashing + state / speeds["compress"]) / cores
    verifying = (hashing + state / speeds["decompress"]) / cores
    hashes, compresses, decompresses = (f"{speeds[key] / 1e6:.0f} MB/s" for key in ("sha256", "compress", "decompress"))
    text = (
        f"One core of this machine hashes {hashes}, compresses weights at {compresses}, and decompresses them at {decompresses}. "
        "A push needs three sha256 over the content (the layer's diff ID, each file, each chunk), one over the blobs, and zstd. "
        f"On {cores} cores without waiting that is {packing:.1f} s for a push; the direct reader takes "
        f"{measured.of(pushes.DIRECT) / packing:.2f} × as long. It is {verifying:.1f} s for a verification; `verify` takes "
        f"{measured.of(applies.VERIFY) / verifying:.2f} × as long."
    )
    if "absent" in profile:
        return f"{text}\n\nThe CPU seconds by kind of work were not measured: {profile['absent']}."
    lines = [_where_line(name, Measured(profile), shares) for name, shares in profile["shares"].items()]
    head = ("what", "s", "CPU s", *(f"of it {kind}" for kind in where.KINDS))
    ended = (
        "A push to a registry also waits for work of one core: its start, reading many small files, and deleting its temporary "
        f"blobs at the end, which alone takes the disk {profile['removing']:.2f} s here."
    )
    return f"{text}\n\nThe CPU seconds of fps-bundle by kind of work, from `perf record`:\n\n{markdown(head, lines)}\n\n{ended}"


def _where_line(name: str, told: Measured, shares: dict[str, float]) -> tuple[str, ...]:
    cpu = told.of(name, "cpu")
    return (f"**{name}**", f"{told.of(name):.1f}", f"{cpu:.1f}", *(f"{shares[kind] * cpu:.1f}" for kind in where.KINDS))


def _machine(found: dict[str, Any]) -> str:
    machine = found["machine"]
    versions = ", ".join(f"{name} {it}" for name, it in machine["versions"].items())
    engine = found.get("engine")
    docker = f" Docker Engine {engine['version']}, {engine['driver']} on {engine['filesystem']}." if engine else ""
    return f"{machine['cores']} cores, {machine['memory'] / (1 << 30):.0f} GiB of memory, {machine['kernel']}.{docker} {versions}."


def _state(measured: Measured) -> str:
    state, entries, bundle = (measured.of(pushes.DIRECT, key) for key in ("state", "entries", "bundle"))
    direct, api, registry = (measured.of(name, "paused") for name in (pushes.DIRECT, pushes.API, pushes.REGISTRY))
    return (
        f"The state: {state / 1e9:.2f} GB in {entries:,.0f} entries: weights, logs, and many small files (`benchmarks/state.py`). "
        f"The bundle has {bundle / 1e9:.2f} GB. The model was paused for {direct:.1f} s with the direct reader, for {api:.1f} s "
        f"with the API reader, and for {registry:.1f} s in a push to a registry."
    )


def _bars_table(found: Sequence[Bar]) -> str:
    rows = [
        (_cell(bar.what), f"{bar.measured:.2f} {bar.unit}", f"{bar.allowed:.2f} {bar.unit}", "pass" if bar.passed else "**fail**")
        for bar in found
    ]
    return markdown(("target", "measured", "allowed", ""), rows)


def _table(measured: Measured, rows: Sequence[tuple[str, ...]], floor: str) -> str:
    lines = []
    for names in rows:
        seconds, text = measured.median(*names), _text(measured, names)
        if seconds is None:
            lines.append((text, f"absent: {measured.absent(names)}", "", "", "", "", "", ""))
            continue
        cpu, daemons = (measured.median(*names, key=key) or 0.0 for key in ("cpu", "daemons_cpu"))
        peak = max(run["peak"] for name in names for run in measured.results[name]["runs"])
        produced = measured.of(names[-1], "produced")
        lines.append(
            (
                text,
                f"{seconds:.1f}",
                f"{seconds / measured.of(floor):.2f}",
                f"{cpu:.1f}",
                f"{daemons:.1f}",
                f"{(cpu + daemons) / measured.found['machine']['cores']:.1f}",
                f"{peak / (1 << 20):.0f}",
                f"{produced / 1e9:.2f}" if produced else "",
            )
        )
    return markdown(("what", "s", f"× {floor}", "CPU s", "daemons' CPU s", "all CPU s / cores", "peak MiB", "GB made"), lines)


def _text(measured: Measured, names: Sequence[str]) -> str:
    text = _cell(" + ".join(names))
    return f"**{text}**" if measured.is_ours(names) else text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _commands(measured: Measured) -> str:
    return "\n".join(f"- {name}:\n\n  ```sh\n{_indented(it['command'])}\n  ```" for name, it in measured.results.items())


def _indented(command: str) -> str:
    return "\n".join(f"  {line}" for line in command.strip().splitlines())


def _scaling_table(measured: Measured) -> str:
    lines = []
    for size, it in measured.found["scaling"].items():
        if "absent" in it:
            lines.append((size, f"left out: {it['absent']}", "", "", "", ""))
        for name, case in it.get("results", {}).items():
            run = case["runs"][0]
            lines.append(
                (
                    size,
                    name,
                    f"{run['seconds']:.1f}",
                    f"{run['seconds'] / it['size'] * 1e9:.2f}",
                    f"{run['peak'] / (1 << 20):.0f}",
                    f"{run['disk'] / run['bundle']:.3f}" if run.get("bundle") else "",
                )
            )
    return markdown(("size", "command", "s", "s per GB", "peak MiB", "spool / bundle"), lines)


def plot(measured: Measured, path: Path) -> None:
    """Draw the seconds of every command, and time and memory over the size of the state."""
    figure, ((push, apply), (seconds, memory)) = plt.subplots(2, 2, figsize=(14, 9), height_ratios=(3, 2))
    _ways(push, measured, PUSH_ROWS, "from the engine to a bundle: seconds")
    _ways(apply, measured, APPLY_ROWS, "from a bundle to the engine: seconds")
    for key, divisor, axes, title in (
        ("seconds", 1, seconds, "seconds over GB of state"),
        ("peak", 1 << 20, memory, "peak MiB over GB of state"),
    ):
        for name in (pushes.API, pushes.DIRECT, scaling.APPLY):
            points = [(it["size"] / 1e9, it["results"][name]["runs"][0][key] / divisor) for it in measured.sizes.values()]
            axes.plot([size for size, _ in points], [value for _, value in points], marker="o", label=name)
        axes.set_title(title)
        axes.grid(alpha=0.3)
    memory.axhline(MEMORY, color="crimson", linestyle="--", label="allowed")
    for axes in (seconds, memory):
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0, auto=True)
        axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _ways(axes: Any, measured: Measured, rows: Sequence[tuple[str, ...]], title: str) -> None:
    shown = [(names, took) for names in reversed(rows) if (took := measured.median(*names)) is not None]
    names = [" +\n".join(names) for names, _ in shown]
    drawn = axes.barh(names, [took for _, took in shown], color=[OURS if measured.is_ours(names) else OTHERS for names, _ in shown])
    axes.bar_label(drawn, fmt="%.1f", padding=3)
    axes.set_title(title)
    axes.margins(x=0.12)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path, help="what run.py wrote")
    parser.add_argument("--into", type=Path, default=Path("docs/dev"), help="where the page goes")
    arguments = parser.parse_args()
    measured = Measured(json.loads(arguments.result.read_text()))
    arguments.into.mkdir(parents=True, exist_ok=True)
    (arguments.into / "performance.md").write_text(page(measured))
    plot(measured, arguments.into / "performance.png")
    wanted = bars(measured)
    for bar in wanted:
        print(f"{'pass' if bar.passed else 'FAIL'}  {bar.measured:8.2f} of {bar.allowed:8.2f} {bar.unit:<3}  {bar.what}")
    print(f"all of it: {arguments.into / 'performance.md'}")
    return int(not all(bar.passed for bar in wanted))


if __name__ == "__main__":
    sys.exit(main())
