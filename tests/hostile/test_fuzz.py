"""``make fuzz`` does the same work each time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris")

from fuzz import fuzz
from fuzz.targets import TARGETS

RUNS = 1500 if os.environ.get("FPS_BUNDLE_FAULTS") == "full" else 400


def steps(target: str, directory: Path) -> list[str]:
    """What the fuzzer came upon, in order: number of the input, coverage, features, corpus; without what depends on time."""
    command = [sys.executable, str(fuzz.HERE / "fuzz.py"), "--target", target, *fuzz.bounded(target), f"-runs={RUNS}"]
    # By a shell: a program inherits the peak memory of the process that starts it (ru_maxrss), and libFuzzer limits that.
    done = subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", *command],
        cwd=directory,
        env=fuzz.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return [" ".join(line.split()[:8]) for line in done.stderr.splitlines() if line.startswith("#") and "pulse" not in line]


@pytest.mark.parametrize("target", ["manifest", "whole_layer"])
def test_a_bounded_run_takes_the_same_steps_each_time(target: str, tmp_path: Path) -> None:
    first = steps(target, tmp_path)
    assert len(first) > 5
    assert steps(target, tmp_path) == first


def test_every_target_is_bounded() -> None:
    for name in TARGETS:
        assert [option.partition("=")[0] for option in fuzz.bounded(name)] == ["-seed", "-runs", "-use_cmp", "-use_counters"]
    assert set(TARGETS) >= fuzz.SLOW.keys()
