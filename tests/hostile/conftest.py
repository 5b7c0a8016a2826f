"""An engine that can be told to answer badly, and the commands that are run on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hostile.fakeengine import Engine
from hostile.running import Run, on


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def run(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with on(engine, tmp_path, monkeypatch) as run:
        yield run
