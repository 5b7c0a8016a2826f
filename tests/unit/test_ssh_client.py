"""The way to an engine on another host, where it does not even begin."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from bundler.engines.ssh import Forward
from bundler.errors import EngineError


def test_without_an_ssh_client_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(EngineError, match="takes the program ssh"):
        Forward("ssh://root@host", "/docker.sock")
    assert list(tmp_path.iterdir()) == []
