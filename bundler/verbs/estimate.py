"""Estimate the size of the state and the pause, while the model still runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bundler.format.compression_mode import Compression
from bundler.format.layer_writer import SECONDS_PER_GIB_OF_HOLE
from bundler.ports import Container, Engine, Reader, Surveyor
from bundler.verbs.mounts import mounted

DIRECT_RATE = 150e6
"""Bytes per second that the direct reader at least reads and packs on two cores.

This and the rates below are about half of those measured on two idle cores (docs/user/transport.md). So a pause is
shorter than estimated, rather than longer.
"""

API_RATE = 100e6
"""The same for the engine's API, on this host."""

BEST_RATE = 20e6
"""The same with ``--compression best``, for every reader."""

FIXED_TIME = 0.2
"""Seconds of the shortest pause: to pause, resolve the exports, and resume."""

ENTRY_TIME = 100e-6
"""Seconds for each entry, with both walks that detect changes."""


@dataclass(frozen=True)
class Estimate:
    """The bytes that will be read, and the seconds for which the model will be paused.

    ``size`` includes the holes of sparse files, ``data`` does not; ``capacity`` is the size of their disk. Where only a
    rough size is known, ``exact`` is false, and ``entries`` and ``capacity`` are 0.
    """

    size: int
    data: int
    entries: int
    exact: bool
    seconds: float
    capacity: int = 0


def cost_of_holes(size: int) -> float:
    """Seconds to read and pack ``size`` bytes of holes."""
    return size / (1 << 30) * SECONDS_PER_GIB_OF_HOLE


def estimate(
    container: Container,
    exports: Sequence[str],
    engine: Engine,
    reader: Reader,
    ignored: Callable[[str], bool],
    compression: Compression,
) -> Estimate | None:
    """Measure the exported paths without reading them; None where the engine's API does not report their size."""
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
