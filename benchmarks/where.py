"""Where the time of our own commands goes: what a core of this machine can do at best, and what ours spend their seconds on."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from applies import VERIFY
from measuring import Case, Results
from place import Place
from pushes import API, BUNDLE, DIRECT, push, push_to_registry
from state import State

from bundler.format.compression import compress, decompress
from bundler.format.compression_mode import Compression
from bundler.format.toc import CHUNK

SHA, ZSTD, KERNEL, PYTHON, REST = "sha256", "zstd", "kernel", "Python", "rest"
KINDS = (SHA, ZSTD, KERNEL, PYTHON, REST)
LIBRARIES = {"libcrypto": SHA, "backend_c": ZSTD, "[kernel": KERNEL, "libpython": PYTHON, "python3": PYTHON}
"""How the names of what is loaded into our process begin, and what it does there."""
SAMPLES = 499
"""Looks per second."""
_SAMPLE = 256 << 20
_LINE = re.compile(r"\s*([\d.]+)%\s+(\S+)")


def speeds() -> Mapping[str, float]:
    """Bytes per second of one core, on weights as the measured state has them: hashing, compressing, decompressing."""
    chunks = list(State(1).weights(_SAMPLE))
    frames = [compress([chunk], Compression.AUTO) for chunk in chunks]
    whole = hashlib.sha256()
    return {
        "sha256": _speed(chunks, whole.update),
        "compress": _speed(chunks, lambda chunk: compress([chunk], Compression.AUTO)),
        "decompress": _speed(frames, decompress, len(chunks) * CHUNK),
    }


def _speed(items: list[Any], work: Callable[[Any], object], size: int = 0) -> float:
    started = time.monotonic()
    for item in items:
        work(item)
    return (size or sum(map(len, items))) / (time.monotonic() - started)


def measure(here: Place, tell: Callable[[str], object]) -> dict[str, Any]:
    """The share of each of `KINDS` in the CPU seconds of pushes and of a verification, and how long it takes to remove a bundle."""
    perf = shutil.which("perf")
    if not perf:
        return {"absent": "no perf here"}
    record = here.out.parent / "perf"
    results = Results(tell)
    shares = {}
    readers = {API: "api", DIRECT: "direct"}
    reading = [push(here, name, reader, BUNDLE, lambda: 0) for name, reader in readers.items()]
    for case in [push_to_registry(here), *reading, Case(VERIFY, f"fps-bundle verify {BUNDLE} --quiet")]:
        command = f"perf record -q -e cpu-clock -F {SAMPLES} -o {record} {case.command}"
        results.measure(Case(case.name, command, case.before, case.after), here.environment)
        shares[case.name] = dict(_shares(record))
        record.unlink()
    os.sync()
    started = time.monotonic()
    here.empty_store()
    return {"shares": shares, "results": results.found, "removing": time.monotonic() - started}


def _shares(record: Path) -> Iterator[tuple[str, float]]:
    """How much of a recorded run's samples are of each kind."""
    command = ["perf", "report", "-i", str(record), "--stdio", "--no-children", "--sort", "dso"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = [(float(match[1]) / 100, match[2]) for line in told.splitlines() if (match := _LINE.match(line))]
    for kind in KINDS:
        yield kind, sum(share for share, library in found if _kind(library) == kind)


def _kind(library: str) -> str:
    return next((kind for name, kind in LIBRARIES.items() if library.startswith(name)), REST)
