"""Measures everything and writes it to one JSON file, of which ``report.py`` makes a page. Run it with ``make bench``.

``make bench SIZE=250MB RUNS=1`` is for a first look. Everything that it makes is gone at the end, also after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import deltas
import pushes
import scaling
import shapes
import startup
import where
from applies import Applies
from measuring import Results
from place import Place, place

from bundler.format import units

WHOLE = 2_440_000_000
ROOM = 12
"""How often the state lies on the disk while it is measured."""
PARTS = ("startup", "transfer", "deltas", "scaling")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="2.44GB", help="bytes of the state, such as 250MB")
    parser.add_argument("--runs", type=int, default=3, help="rounds of which the medians are taken")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part alone; repeatable")
    parser.add_argument("--bars", action="store_true", help="leave out what no bar needs: most peers, and the run over sizes")
    parser.add_argument("--output", type=Path, required=True, help="the JSON file")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled, too
    size, started = units.size(arguments.size), time.monotonic()
    parts = arguments.only or (PARTS[:3] if arguments.bars else PARTS)
    tell = Teller(started)
    found: dict[str, Any] = {"size": size, "runs": arguments.runs, "written": arguments.size, "bars_alone": arguments.bars}
    if "startup" in parts:
        found["startup"] = startup.measure(startup.RUNS)
    if "transfer" in parts:
        found |= _transfer(size, arguments.runs, tell, bars_alone=arguments.bars)
    if "deltas" in parts:
        with _directory(size * deltas.ROOM) as directory:
            found["deltas"] = deltas.measure(directory, size, arguments.runs, tell, bars_alone=arguments.bars)
    if "scaling" in parts:
        found["scaling"] = scaling.measure(size / WHOLE, tell)
    found["minutes"] = (time.monotonic() - started) / 60
    found["machine"] = machine()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    return 0


class Teller:
    """Says on standard error what is done, and after how many seconds."""

    def __init__(self, started: float) -> None:
        self._started = started

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:6.0f} s  {text}", file=sys.stderr, flush=True)


def _transfer(size: int, runs: int, tell: Callable[[str], object], *, bars_alone: bool) -> dict[str, Any]:
    """The push side and the apply side, in rounds in which everything takes its turn."""
    with _directory(size * ROOM) as directory, place(directory) as here:
        tell("making the state")
        here.fill(size)
        results = Results(tell)
        for number in range(runs):
            tell(f"push, round {number + 1} of {runs}")
            pushes.measure(here, results, bars_alone=bars_alone)
        applies = Applies(here)
        for number in range(runs):
            tell(f"apply, round {number + 1} of {runs}")
            applies.measure(results, bars_alone=bars_alone)
        applies.close()
        tell("shapes, and where the time goes")
        return {
            "shapes": shapes.measure(here, size / WHOLE, runs, tell),
            "results": results.found,
            "engine": _engine(here),
            "speeds": where.speeds(),
            "where": where.measure(here, tell),
        }


@contextmanager
def _directory(room: int) -> Iterator[Path]:
    """A directory for the length of the block, on a disk with so much room in bytes."""
    with tempfile.TemporaryDirectory(prefix="fps-bench-") as directory:
        free = shutil.disk_usage(directory).free
        if free < room:
            raise SystemExit(f"bench: it takes {room / 1e9:.0f} GB of disk, and {free / 1e9:.0f} GB are free")
        yield Path(directory)


def _engine(here: Place) -> dict[str, str]:
    info = here.host.api.info()
    return {
        "version": info["ServerVersion"],
        "driver": info["Driver"],
        "filesystem": dict(info["DriverStatus"]).get("Backing Filesystem", ""),
    }


def machine() -> dict[str, Any]:
    """What it was measured on, in general words."""
    return {
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "versions": {
            "fps-bundle": version("fps-bundle"),
            "Python": platform.python_version(),
            "python-zstandard": version("zstandard"),
            "grpcio": version("grpcio"),
            **{name: _version(*command) for name, command in _PROGRAMS.items() if shutil.which(command[0])},
        },
    }


_PROGRAMS = {
    "docker (client)": ("docker", "--version"),
    "zstd": ("zstd", "--version"),
    "borg": ("borg", "--version"),
    "rsync": ("rsync", "--version"),
    "docker-registry": ("docker-registry", "--version"),
    "skopeo": ("skopeo", "--version"),
    "oras": ("oras", "version"),
    "curl": ("curl", "--version"),
    "perf": ("perf", "--version"),
}


def _version(*command: str) -> str:
    """The first word of what a program says of itself that looks like a version."""
    words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return next((word.strip(",*") for word in words if word.lstrip("v")[:1].isdigit()), "unknown")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
