"""What the tests draw at random is the same in every process, whatever else is loaded there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from states import draw

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
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_random_states_depend_on_their_seed_alone() -> None:
    """In this process everything is loaded, and the order of sets is another one."""
    assert drawn("privatesshd", "2") == hashlib.sha256(json.dumps(draw(20, "x")).encode()).hexdigest()
