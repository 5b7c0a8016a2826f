"""How long the program takes to start, beside an empty typer app with as many commands: medians of runs that take turns.

Run it with ``make bench``, or alone: ``python benchmarks/startup.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundler.cli.main import COMMANDS

RUNS = 21
ROOT = Path(__file__).resolve().parent.parent
PROGRAM = str(Path(sys.executable).parent / "fps-bundle")
BUNDLE = ROOT / "tests" / "golden" / "v1.tar"
COMPLETION = {"_FPS_BUNDLE_COMPLETE": "complete_bash", "COMP_WORDS": "fps-bundle pu", "COMP_CWORD": "1"}

EMPTY_APP = """
import typer

app = typer.Typer()

{commands}
app()
"""
EMPTY_COMMAND = '''
@app.command()
def command{number}() -> None:
    """Do nothing."""
'''


def empty_app() -> str:
    """The text of a typer app that does nothing by as many commands as ours has."""
    return EMPTY_APP.format(commands="\n".join(EMPTY_COMMAND.format(number=number) for number in range(len(COMMANDS))))


def measure(runs: int) -> dict[str, Any]:
    """The median seconds of each start, and those of the empty app."""
    with tempfile.TemporaryDirectory(prefix="fps-bench-") as directory:
        empty = Path(directory) / "empty.py"
        empty.write_text(empty_app())
        home = {name: f"{directory}/{name}" for name in ("FPS_BUNDLE_STORE", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
        environment = {**os.environ, **home}
        subprocess.run(
            [PROGRAM, "copy", str(BUNDLE), "golden:1", "--quiet"], env=environment, check=True, stdout=subprocess.DEVNULL
        )
        cases = {
            "empty": ([sys.executable, str(empty), "--help"], {}),
            "help": ([PROGRAM, "--help"], {}),
            "completion": ([PROGRAM], COMPLETION),
            "list": ([PROGRAM, "list"], {}),
        }
        taken: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(runs + 1):  # the first fills the caches
            for name, (command, more) in cases.items():
                taken[name].append(_seconds(command, {**environment, **more}))
    return {"runs": runs, "seconds": {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}}


def _seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    started = time.monotonic()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.runs)
    if arguments.json:
        print(json.dumps(found))
        return 0
    for name, seconds in found["seconds"].items():
        print(f"{name:<12} {seconds * 1000:5.0f} ms  {seconds / found['seconds']['empty']:4.2f} ×")
    return 0


if __name__ == "__main__":
    sys.exit(main())
