"""A signal that ends a copy leaves nothing of it on the target, whichever thread writes there."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import preloaded
import pytest
from bundles import noise
from fakes import RecordingProgress
from opened import store
from places import files_below

from bundler.errors import INTERRUPTED
from bundler.verbs import copy


def size(path: Path) -> int:
    """In bytes; 0 for a file that has been renamed meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.fixture(scope="module")
def source(registry: str) -> str:
    name = f"{registry}/interrupted/source:1"
    copy.copy(noise(16 << 20), store(name), RecordingProgress())
    return name


@pytest.mark.parametrize("sign", list(INTERRUPTED), ids=lambda sign: sign.name)
@pytest.mark.parametrize(
    ("target", "stays"),
    [("{}/x.tar", []), ("oci:{}/x:1", [".fps-bundle-kept-"])],
    ids=["archive", "layout, by a thread, which keeps half a download"],
)
def test_a_signal_leaves_no_part_file_on_the_target(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sign: signal.Signals, target: str, stays: list[str]
) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    stick = tmp_path / "stick"
    stick.mkdir()
    with preloaded.Process(["copy", source, target.format(stick), "--limit-rate", "1M"], text=True) as process:
        while not any(path.name.startswith(".fps-bundle-") and size(path) > 100_000 for path in files_below(stick)):
            time.sleep(0.05)
        process.send_signal(sign)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err.splitlines()[-1]) == (INTERRUPTED[sign], "interrupted")
    assert [path.name[:17] for path in files_below(stick) if path.name.startswith(".")] == stays
