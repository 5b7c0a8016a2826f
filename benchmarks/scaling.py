"""Whether time grows with the state and nothing else, and memory not at all: our own commands over states of several sizes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from measuring import Case, Results, size_of
from place import CONTAINER, STATE, Place, place
from pushes import API, BUNDLE, DIRECT, paused, push

from bundler.cli import console

SIZES = {"0.25 GiB": 1 << 28, "1 GiB": 1 << 30, "2.44 GB": 2_440_000_000, "3 GiB": 3 << 30, "8 GiB": 8 << 30}
WITH_ALL = frozenset({"0.25 GiB", "3 GiB"})
"""Where copies and ingest are measured, too."""
ROOM = 6
"""How often the state lies on the disk while it is measured here."""
NEWER = "scripted:2"
APPLY = "apply"


def measure(factor: float, tell: Callable[[str], object]) -> dict[str, Any]:
    """What our commands take at each size, times a factor; a size for which the disk has no room is told as left out."""
    found: dict[str, Any] = {}
    for written, whole in SIZES.items():
        size = round(whole * factor)
        name = written if factor == 1 else console.size(size)
        tell(f"scaling: {name}")
        with tempfile.TemporaryDirectory(prefix="fps-bench-") as directory:
            free = shutil.disk_usage(directory).free
            if free < size * ROOM:
                reason = f"it takes {size * ROOM / 1e9:.0f} GB of disk, {free / 1e9:.0f} GB are free"
                tell(f"left out: {reason}")
                found[name] = {"size": size, "absent": reason}
                continue
            results = Results(tell)
            with place(Path(directory)) as here:
                here.fill(size)
                _measure(here, results, everything=written in WITH_ALL)
            found[name] = {"size": size, "results": results.found}
    return found


def _measure(here: Place, results: Results, *, everything: bool) -> None:
    produced = partial(size_of, here.store)
    for name, reader in ((API, "api"), (DIRECT, "direct")):
        results.measure(push(here, name, reader, BUNDLE, produced), here.environment, paused)
    results.measure(Case(APPLY, f"fps-bundle apply {BUNDLE} --tag applied:1 --quiet"), here.environment)
    if not everything:
        return
    here.open_registry()
    here.host.script_image(NEWER, [(STATE, STATE)], mood="strict")
    remote = f"$REGISTRY/bench/{BUNDLE}"
    copies = {
        "copy to a registry": f"fps-bundle copy {BUNDLE} {remote} --plain-http --quiet",
        "copy from a registry": f"FPS_BUNDLE_STORE=$OUT/other fps-bundle copy {remote} {BUNDLE} --plain-http --quiet",
        "copy to a file": f"fps-bundle copy {BUNDLE} $OUT/bundle.tar --quiet",
        "verify a file": "fps-bundle verify $OUT/bundle.tar --quiet",
        "ingest": f"fps-bundle ingest {CONTAINER} --onto {NEWER} --tag ingested:1 --quiet",
    }
    for name, command in copies.items():
        results.measure(Case(name, command), here.environment)
    here.close_registry()
