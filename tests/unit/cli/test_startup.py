"""What the program loads before there is work: little, so that help, completion and lists come at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"docker", "grpc", "jsonschema", "oras", "requests", "zstandard"}
LOADED = """
import sys
from bundler.cli.main import main
try:
    main()
finally:
    print("loaded:", *sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["inspect", "broken.tar"], ["copy", "broken.tar", "other.tar"], ["apply", "broken.tar"]])
def test_numpy_is_loaded_for_deltas_alone(arguments: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "FPS_BUNDLE_STORE": str(tmp_path / "store")}
    (tmp_path / "broken.tar").write_bytes(b"not an archive")
    code = LOADED.replace("import sys", f"import sys; sys.argv = {['fps-bundle', *arguments]!r}")
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    loaded = ended.stderr.rpartition("loaded: ")[2].split()
    assert "bundler.api.stores" in loaded
    assert "numpy" not in loaded


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {}),
        (["push", "--help"], {}),
        (["list"], {}),
        ([], {"_FPS_BUNDLE_COMPLETE": "complete_bash", "COMP_WORDS": "fps-bundle pu", "COMP_CWORD": "1"}),
    ],
    ids=["help", "help of a command", "list", "completion"],
)
def test_what_is_heavy_is_loaded_on_use(arguments: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    everything = {**os.environ, "FPS_BUNDLE_STORE": str(tmp_path / "store"), **environment}
    code = LOADED.replace("import sys", f"import sys; sys.argv = {['fps-bundle', *arguments]!r}")
    ended = subprocess.run([sys.executable, "-c", code], env=everything, capture_output=True, text=True, check=True)
    loaded = ended.stderr.rpartition("loaded: ")[2].split()
    assert "typer" in loaded
    assert HEAVY.isdisjoint(loaded)
