"""Measure what a hole costs: ``python -m benchmarks.holes DIR [GIB]`` writes a sparse file into DIR and packs it.

The first figure is the reading, for which the model is paused; the second is all of the work. Both are per GiB of hole.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from bundler.concurrency.pipeline import Pipeline
from bundler.engines.direct_reader import DirectReader
from bundler.format.compression_mode import Compression
from bundler.format.layer_writer import LayerWriter
from bundler.stores.layout.store import LayoutStore


def measure(directory: Path, gib: int) -> tuple[float, float]:
    """Seconds of reading and of all the work for a file that is one hole."""
    (directory / "s").mkdir()
    with (directory / "s" / "hole").open("wb") as hole:
        hole.truncate(gib << 30)
    reader = DirectReader(os.open(directory, os.O_RDONLY | os.O_DIRECTORY))
    started = time.monotonic()
    with Pipeline() as pipeline:
        writer = LayerWriter(LayoutStore(directory / "store", "x").new_blob(), pipeline, Compression.AUTO)
        for entry, content in reader.entries(["/s"]):
            writer.add(entry, content)
        read = time.monotonic() - started
        writer.finish().result()
    return read, time.monotonic() - started


def main() -> None:
    gib = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as directory:
        read, total = measure(Path(directory), gib)
    sys.stdout.write(f"reading {read / gib:.4f} s/GiB, total {total / gib:.2f} s/GiB ({gib} GiB)\n")


if __name__ == "__main__":
    main()
