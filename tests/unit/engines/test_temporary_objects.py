"""What is left on an engine by a process that died is removed by the next one; what another one uses is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bundler.engines import temporary_objects
from bundler.engines.temporary_objects import PATIENCE
from bundler.errors import EngineError

HERE = "unix:///here.sock"


class World:
    """What stands on an engine, by name."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.asked: list[str] = []

    def remove(self, name: str) -> bool:
        self.asked.append(name)
        found = name in self.names
        self.names.discard(name)
        return found

    def sweep(self, state: Path, url: str = HERE) -> list[str]:
        return temporary_objects.sweep(state, url, {"container": self.remove, "image": self.remove})


def leave(state: Path, kind: str) -> str:
    """What a process leaves that dies while it has something."""
    with temporary_objects.noted(state, HERE, kind) as (name, _):
        return name


def test_what_was_left_is_removed_containers_before_images(tmp_path: Path) -> None:
    image, container = leave(tmp_path, "image"), leave(tmp_path, "container")
    world = World(image, container, "somebody else's")
    assert world.sweep(tmp_path) == [container, image]
    assert world.names == {"somebody else's"}
    assert world.sweep(tmp_path) == []
    assert world.asked == [container, image]


def test_what_is_in_use_or_was_settled_is_left_alone(tmp_path: Path) -> None:
    with temporary_objects.noted(tmp_path, HERE, "image") as (name, note):
        world = World(name)
        assert world.sweep(tmp_path) == []
        note.settle()
    assert world.sweep(tmp_path) == []
    assert world.asked == []


def test_another_engine_is_not_asked(tmp_path: Path) -> None:
    world = World(leave(tmp_path, "image"))
    assert world.sweep(tmp_path, "unix:///other.sock") == []
    assert world.asked == []


def test_what_may_still_appear_is_looked_for_again_for_a_day(tmp_path: Path) -> None:
    name = leave(tmp_path, "image")
    (note,) = (tmp_path / "temporary").iterdir()
    assert World().sweep(tmp_path) == []
    assert World(name).sweep(tmp_path) == [name]
    leave(tmp_path, "image")
    (note,) = (tmp_path / "temporary").iterdir()
    os.utime(note, (0, time.time() - PATIENCE - 1))
    assert World().sweep(tmp_path) == []
    assert not note.exists()


def test_what_cannot_be_removed_now_is_left_for_the_next_time(tmp_path: Path) -> None:
    name = leave(tmp_path, "container")

    def fail(_: str) -> bool:
        raise EngineError("it is being committed")

    assert temporary_objects.sweep(tmp_path, HERE, {"container": fail}) == []
    assert World(name).sweep(tmp_path) == [name]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 1}'])
def test_a_damaged_note_disturbs_nobody(tmp_path: Path, text: str) -> None:
    leave(tmp_path, "container")
    (note,) = (tmp_path / "temporary").iterdir()
    note.write_text(text)
    assert World().sweep(tmp_path) == []
