"""The way to an engine on another host, where it does not even begin."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from bundler.engines.ssh import Forward
from bundler.errors import EngineError


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_without_an_ssh_client_nothing_is_left(temporary: Path) -> None:
    with pytest.raises(EngineError, match="the program ssh is not installed"):
        Forward("ssh://root@host", "/docker.sock")
    assert list(temporary.iterdir()) == []


def test_what_killed_processes_left_is_removed_but_not_what_is_held_or_new(temporary: Path) -> None:
    files = {name: temporary / f"fps-ssh-{name}" / "log" for name in ("left", "held", "new")}
    for name, file in files.items():
        file.parent.mkdir()
        file.touch()
        if name != "new":
            os.utime(file, (0, 0))
    with files["held"].open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(EngineError):
            Forward("ssh://root@host", "/docker.sock")
    assert sorted(path.name for path in temporary.iterdir()) == ["fps-ssh-held", "fps-ssh-new"]
