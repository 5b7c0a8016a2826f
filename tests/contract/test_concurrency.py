"""Several processes that write into one layout at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bundler.bundle import read_bundle
from bundler.stores.layout.store import LayoutStore

_COPY = """
import sys
from pathlib import Path
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree
from bundler.verbs import copy
from bundler.stores.layout.store import LayoutStore

directory, name = Path(sys.argv[1]), sys.argv[2]
source = MemoryStore()
bundle(source, tree(file("/s/f", name.encode() * 50_000)), created=f"2026-01-01T00:00:0{name}Z")
print("ready", flush=True)
sys.stdin.readline()
print(copy.copy(source, LayoutStore(directory, name), RecordingProgress()).bundle.digest)
"""


def test_bundles_of_several_processes_all_stand(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "helpers")}
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-c", _COPY, str(tmp_path / "layout"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for name in "1234"
    }
    for process in processes.values():
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes.values():
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    digests = {name: process.communicate()[0].strip() for name, process in processes.items()}
    assert {process.returncode for process in processes.values()} == {0}
    found = {name: str(read_bundle(LayoutStore(tmp_path / "layout", name)).digest) for name in processes}
    assert found == digests
    assert not list((tmp_path / "layout").rglob(".fps-bundle-part-*"))
