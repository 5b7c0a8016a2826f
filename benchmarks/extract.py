"""Measures extract: ``python benchmarks/extract.py DIR`` extracts a state in DIR, beside what tar does with the same layers.

Both have the same files on the disk at the end: ``zstd -d | tar -x`` of each layer with a sync of the file system, and
``fps-bundle extract``, which verifies them, too. Each takes its turn; the figures are medians of ``--runs``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import deltas
import measuring
import state

from bundler.format import units

_PROGRAM = (sys.executable, "-m", "bundler")
_TAR = "for layer in $LAYERS; do zstd -q -d -c $layer | tar -x -C $OUT || exit; done && sync -f $OUT"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where the state and the store are, for the length of the run")
    parser.add_argument("--size", default="2.44GB", help="bytes of the state, such as 250MB")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        for line in _measure(Path(directory), units.size(arguments.size), arguments.runs):
            sys.stdout.write(f"{line}\n")
    return 0


def _measure(directory: Path, size: int, runs: int) -> Iterator[str]:
    root = directory / "root"
    root.mkdir()
    maker = f"{sys.executable} {state.__file__} --size {size} | tar -x -C {root}"
    subprocess.run(["bash", "-o", "pipefail", "-c", maker], check=True)
    here = {**os.environ, "FPS_BUNDLE_STORE": str(directory / "store"), "XDG_STATE_HOME": str(directory / "state")}
    subprocess.run([sys.executable, deltas.__file__, str(root), "--pack", "model:1"], env=here, check=True)
    shutil.rmtree(root)
    here["LAYERS"] = " ".join(_layers(here))
    names = ("zstd -d | tar -x, and sync", "fps-bundle extract", "fps-bundle extract again")
    taken: dict[str, list[measuring.Taken]] = {name: [] for name in names}
    for number in range(runs):
        # Nothing is removed meanwhile: ext4 is slower where inodes were freed in the last minutes.
        out, other = directory / f"tar-{number}", directory / f"extract-{number}"
        out.mkdir()
        extract = [*_PROGRAM, "extract", "model:1", str(other), "--quiet"]
        tar = ["bash", "-o", "pipefail", "-c", _TAR]
        for name, command in zip(names, (tar, extract, extract), strict=True):
            taken[name].append(measuring.run(command, {**here, "OUT": str(out)}))
    peer = statistics.median(it.seconds for it in next(iter(taken.values())))
    for name, times in taken.items():
        seconds, cpu = (statistics.median(figures) for figures in ([it.seconds for it in times], [it.cpu for it in times]))
        peak = max(it.peak for it in times) / (1 << 20)
        yield f"{name}: {seconds:.2f} s ({seconds / peer:.2f} of tar), {cpu:.2f} CPU s, peak {peak:.0f} MiB"


def _layers(environment: dict[str, str]) -> Iterator[str]:
    """The files of the bundle's layers in the local store."""
    told = subprocess.run([*_PROGRAM, "inspect", "model:1", "--json"], env=environment, check=True, stdout=subprocess.PIPE).stdout
    for layer in json.loads(told)["manifest"]["layers"]:
        yield str(Path(environment["FPS_BUNDLE_STORE"], "blobs", "sha256", layer["digest"].removeprefix("sha256:")))


if __name__ == "__main__":
    sys.exit(main())
