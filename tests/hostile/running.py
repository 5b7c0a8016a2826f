"""Runs commands in this process, and checks what holds for every run, whatever the other side answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bundler.cli import console
from hostile.fakeengine import Engine, serving
from hostile.offer import cli, measured

MOST_SECONDS = 20
MOST_MEMORY = 400 << 20
LONGEST_LINE = console.LONGEST + 100

Run = Callable[..., tuple[int, str]]


@contextmanager
def on(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs commands on that engine; gives the exit code and all that was printed."""
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    with serving(engine, tmp_path / "engine.sock") as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        yield checked


def checked(*arguments: str) -> tuple[int, str]:
    """The exit code of a command and all that it printed: soon, in little memory, in short lines of plain text, and no bug."""
    began = time.monotonic()
    code, text, _, memory = measured(lambda *_: cli(*arguments), "", Path())
    assert time.monotonic() - began < MOST_SECONDS
    assert memory < MOST_MEMORY, memory >> 20
    assert code != 1, text[-3000:]
    assert "Traceback" not in text, text[-3000:]
    assert all(it.isprintable() for line in text.split("\n") for it in line.split("\t")), ascii(text[:3000])
    assert max(map(len, text.splitlines()), default=0) < LONGEST_LINE
    return code, text
