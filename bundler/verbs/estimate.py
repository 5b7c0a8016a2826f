"""How long a model will be paused, estimated while it still runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bundler.format.compression import Compression
from bundler.format.layer_writer import SECONDS_PER_GIB_OF_HOLE
from bundler.ports import Container, Engine, Reader, Surveyor
from bundler.verbs.mounts import mounted

DIRECT_RATE = 150e6
"""Bytes per second of content that the direct reader can be counted on to read and pack on two cores.

This and the rates below are about half of what was measured on two cores that do nothing else (docs/user/transport.md), so that a
pause is shorter than expected rather than longer.
"""

API_RATE = 100e6
"""The same by the engine's API, on this host."""

BEST_RATE = 20e6
"""The same with ``--compression best``, whatever the reader."""

FIXED_TIME = 0.2
"""Seconds that the shortest pause takes: pausing, looking where the exports lie, resuming."""

ENTRY_TIME = 100e-6
"""Seconds for each entry, with both walks that look for changes."""


@dataclass(frozen=True)
class Estimate:
    """What will be read, in bytes, and for how many seconds the model will be paused.

    ``size`` has the holes of sparse files, ``data`` has not; ``capacity`` is that of the disk they lie on. Where nothing but a
    rough size is known, ``exact`` is false, and ``entries`` and ``capacity`` are 0.
    """

    size: int
    data: int
    entries: int
    exact: bool
    seconds: float
    capacity: int = 0


def cost_of_holes(size: int) -> float:
    """Seconds for so many bytes of holes."""
    return size / (1 << 30) * SECONDS_PER_GIB_OF_HOLE


def estimate(
    container: Container,
    exports: Sequence[str],
    engine: Engine,
    reader: Reader,
    ignored: Callable[[str], bool],
    compression: Compression,
) -> Estimate | None:
    """Look at the exported paths without reading them; None where the engine's API cannot tell how large they are."""
    best = compression is Compression.BEST
    if isinstance(reader, Surveyor):
        size = data = entries = 0
        for seen in reader.survey(exports, ignored):
            size, data, entries = size + seen.size, data + seen.allocated, entries + 1
        rate = BEST_RATE if best else DIRECT_RATE
        seconds = FIXED_TIME + data / rate + cost_of_holes(size - data) + entries * ENTRY_TIME
        return Estimate(size, data, entries, True, seconds, reader.capacity())
    if any(mounted(container, export) for export in exports):
        return None
    rough = engine.extent(container, reader)
    return Estimate(rough, rough, 0, False, FIXED_TIME + rough / (BEST_RATE if best else API_RATE))
