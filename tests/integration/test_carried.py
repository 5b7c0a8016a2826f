"""A bundle is applied from however it was carried: through a pipe, in parts, with only what the other side lacks."""

from __future__ import annotations

import shutil
from pathlib import Path
from subprocess import CompletedProcess

import preloaded
import pytest
from world import MODEL, Host


def learned(host: Host) -> str:
    """Push a model that has learned as ``carried:1``; gives the bundle's digest."""
    first = host.run(MODEL, "first")
    host.ask(first, "learn", text="smoke", label="fire")
    return host.must("push", "first", "carried:1").out.strip()


def stored(host: Host) -> list[str]:
    directory = Path(host.environment["FPS_BUNDLE_STORE"]) / "blobs" / "sha256"
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def through_pipe(here: Host, there: Host, *command: str) -> CompletedProcess[bytes]:
    with preloaded.Process(["copy", "carried:1", "-", "-q"], environment=here.environment) as sending:
        received = preloaded.completed(*command, stdin=sending.stdout.fileno(), environment=there.environment)
        assert sending.wait() == 0
    return received


def test_through_a_pipe(here: Host, there: Host) -> None:
    digest = learned(here)
    before = stored(there)
    done = through_pipe(here, there, "apply", "-", "--tag", "carried:1", "--json")
    assert done.returncode == 0, done.stderr
    assert digest in done.stdout.decode()
    assert stored(there) == before
    assert there.ask(there.run("carried:1", "second"), "predict", text="smoke") == {"fire": 1.0}


@pytest.mark.parametrize("way", ["parts in two directories", "parts in a registry", "only what is lacking"])
def test_applied_from_what_was_carried(here: Host, there: Host, registry: str, tmp_path: Path, way: str) -> None:
    digest = learned(here)
    target = str(tmp_path / "carried.tar")
    options: list[str] = []
    if way == "parts in two directories":
        here.must("copy", "carried:1", target, "--split", "64KiB")
        (tmp_path / "second").mkdir()
        shutil.move(f"{target}.001", tmp_path / "second")
        options = ["--parts-from", str(tmp_path / "second")]
    elif way == "parts in a registry":
        target = f"{registry}/team/carried:1"
        here.must("copy", "carried:1", target, "--split", "64KiB")
    else:
        here.must("copy", "carried:1", str(tmp_path / "all.tar"))
        there.must("copy", str(tmp_path / "all.tar"), "known:1")
        (tmp_path / "have").write_text(there.must("list", "--have").out)
        here.must("copy", "carried:1", target, "--have", str(tmp_path / "have"))
        assert here.bundle("apply", target, "--tag", "carried:1", "--dry-run").code == 0
    assert there.must("apply", target, *options, "--tag", "carried:1", "--json").json["bundle"] == digest
    assert there.ask(there.run("carried:1", "second"), "predict", text="smoke") == {"fire": 1.0}
