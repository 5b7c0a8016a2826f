"""Measures the ways to carry a bundle: ``python benchmarks/transports.py DIR`` prints the table of docs/user/transport.md.

A state of two large files of weights, 200 small ones and a log learns a little: 1 % of the pages of 4 KiB of one large file are
replaced, and 100 kB are appended to the log. The second bundle is then carried in each way to a host that has the first.
CPU seconds are medians of ``--runs``; they depend less than the time on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import deltas
import measuring
import numpy as np
import state

from bundler.format import units

_PROGRAM = (sys.executable, "-m", "bundler")
_LARGE, _OTHER, _SMALL, _FILES, _LOG, _APPENDED = 128 << 20, 64 << 20, 100_000, 200, 20_000_000, 100_000
_WAYS: Mapping[str, Sequence[str]] = {
    "whole": (),
    "`--split 4MiB`": ("--split", "4MiB"),
    "`--have` (thin)": ("--have", "model:1"),
    "`--delta-from`": ("--delta-from", "model:1"),
}


@dataclass(frozen=True)
class _Host:
    """The environment of a host: its local store and its records."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "FPS_BUNDLE_STORE": str(self.directory / "store"),
            "XDG_STATE_HOME": str(self.directory / "state"),
        }

    def run(self, *arguments: str) -> measuring.Taken:
        return measuring.run([*_PROGRAM, *arguments, "--quiet"], self.environment)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where the state and the stores are, for the length of the run")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        for line in _measure(Path(directory), arguments.runs):
            sys.stdout.write(f"{line}\n")
    return 0


def _measure(directory: Path, runs: int) -> Iterator[str]:
    here = _Host(directory / "here")
    _make(directory / "root" / state.DIRECTORY)
    _pack(here, directory / "root", "model:1")
    _learn(directory / "root" / state.DIRECTORY)
    _pack(here, directory / "root", "model:2")
    here.run("copy", "model:1", str(directory / "first.tar"))
    yield "| way | bytes | CPU seconds to write | CPU seconds to store there |"
    yield "|---|---|---|---|"
    for way, options in _WAYS.items():
        carried = [_carry(directory, here, options) for _ in range(runs)]
        written, stored = (statistics.median(seconds) for seconds in zip(*(it[1:] for it in carried), strict=True))
        yield f"| {way} | {units.shown(carried[0][0])} | {written:.1f} | {stored:.1f} |"


def _carry(directory: Path, here: _Host, options: Sequence[str]) -> tuple[int, float, float]:
    """Carry the second bundle to a host that has the first: the bytes, and the CPU seconds to write and to store them."""
    stick, there = directory / "stick", _Host(directory / "there")
    stick.mkdir()
    there.run("copy", str(directory / "first.tar"), "model:1")
    written = here.run("copy", "model:2", str(stick / "second.tar"), *options)
    size = sum(path.stat().st_size for path in stick.iterdir())
    stored = there.run("copy", str(stick / "second.tar"), "model:2")
    shutil.rmtree(stick)
    shutil.rmtree(there.directory)
    return size, written.cpu, stored.cpu


def _pack(host: _Host, root: Path, name: str) -> None:
    subprocess.run([sys.executable, deltas.__file__, str(root), "--pack", name], env=host.environment, check=True)


def _make(directory: Path) -> None:
    made = state.State(1)
    contents = {"large": made.weights(_LARGE), "other": made.weights(_OTHER), "log": made.log(_LOG)}
    contents |= {f"small-{number:03}": made.weights(_SMALL) for number in range(_FILES)}
    directory.mkdir(parents=True)
    for name, content in contents.items():
        with (directory / name).open("wb") as file:
            file.writelines(content)


def _learn(directory: Path) -> None:
    chosen, made = np.random.default_rng(2), state.State(2)
    pages = _LARGE // deltas.PAGE
    with (directory / "large").open("r+b") as file:
        for page in sorted(chosen.choice(pages, pages // 100, replace=False).tolist()):
            file.seek(page * deltas.PAGE)
            file.write(b"".join(made.weights(deltas.PAGE)))
    with (directory / "log").open("ab") as file:
        file.writelines(made.log(_APPENDED))


if __name__ == "__main__":
    sys.exit(main())
