"""Whether many small files take much longer than one large file of as many bytes."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from typing import Any

from measuring import Results
from place import STATE, Place
from pushes import BUNDLE, push
from state import SMALL_FILES, State

NONE, ONE, MANY = "nothing at all", "one file of as many bytes", "20,000 files of 1 to 8 KiB"


def measure(here: Place, factor: float, runs: int, tell: Callable[[str], object]) -> dict[str, Any]:
    """Pushes by the direct reader of no files, of many small ones times a factor, and of one that has all their bytes, in turns."""
    state = State(2)
    small = [state.small() for _ in range(round(SMALL_FILES * factor))]
    contents = {NONE: [], ONE: [b"".join(small)], MANY: small}
    containers = {name: f"shape{number}" for number, name in enumerate(contents)}
    for name, files in contents.items():
        here.host.run_script(containers[name], [STATE])
        subprocess.run(["docker", "cp", "-", f"{containers[name]}:/"], input=_archive(files), env=here.environment, check=True)
    results = Results(tell)
    for _ in range(runs):
        for name, container in containers.items():
            results.measure(push(here, name, "direct", BUNDLE, lambda: 0, container), here.environment)
    return {"bytes": sum(map(len, small)), "results": results.found}


def _archive(files: Iterable[bytes]) -> bytes:
    """A tar of a state with these contents."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        directory = tarfile.TarInfo(STATE.lstrip("/"))
        directory.type, directory.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(directory)
        for number, content in enumerate(files):
            info = tarfile.TarInfo(f"{directory.name}/{number:05}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()
