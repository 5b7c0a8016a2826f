"""What the tests draw at random is the same in every process, whatever else is loaded there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
_DRAW = """
import hashlib, importlib, json, sys
importlib.import_module(sys.argv[1])
import conftest
conftest.pytest_collection()
from states import draw
print(hashlib.sha256(json.dumps(draw(20, "x")).encode()).hexdigest())
"""


def drawn(loaded: str, hash_seed: str) -> str:
    path = os.pathsep.join(map(str, (TESTS, TESTS / "helpers", TESTS / "integration", TESTS.parent / "tools", TESTS.parent)))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", _DRAW, loaded]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_random_states_depend_on_their_seed_alone() -> None:
    assert drawn("json", "1") == drawn("privatesshd", "2")
