"""A writer goes on while ``push --no-pause`` reads: the bundle is the state of one moment, or there is none."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
import zstandard
from world import Host

RACES = int(os.environ.get("FPS_BUNDLE_RACES", "5"))
SEED = int(os.environ.get("FPS_BUNDLE_SEED", "20261124"))
FILES = 30

WRITER = f"""
import itertools, os, random, threading, time
FILES = {FILES}
os.makedirs("/srv/decoy")
open("/srv/decoy/decoy", "w").write("not of the state")
os.makedirs("/srv/state")

def content(number, turn):
    return f"{{number:02}} {{turn:08}}\\n" * 10000

def write(number, turn):
    with open(f"/srv/state/{{number:02}}", "w") as file:
        file.write(content(number, turn))

def breathe():
    time.sleep(random.choice([0, 0, 0.01]))

def change(number, turn):
    path = f"/srv/state/{{number:02}}"
    how = random.choice(["rewrite", "truncate", "delete", "rename", "link", "link above"])
    if how == "truncate":
        os.truncate(path, random.randrange(len(content(number, turn))))
    elif how == "delete":
        os.remove(path)
    elif how == "rename":
        os.rename(path, path + ".moved")
        breathe()
        os.rename(path + ".moved", path)
    elif how == "link":
        os.remove(path)
        os.symlink("/srv/decoy/decoy", path)
        breathe()
        os.remove(path)
    elif how == "link above":
        os.rename("/srv/state", "/srv/aside")
        os.symlink("/srv/decoy", "/srv/state")
        breathe()
        os.remove("/srv/state")
        os.rename("/srv/aside", "/srv/state")
    breathe()
    write(number, turn)

def work():
    for turn in itertools.count(1):
        for number in range(FILES):
            change(number, turn)
        time.sleep(random.choice(RESTS))

for number in range(FILES):
    write(number, 0)
threading.Thread(target=work, daemon=True).start()
"""
"""Writes all files in turn, again and again: at no time do more than two turns stand there, or more than one file is half done."""


def writer(rests: list[float]) -> str:
    return f"import random\nrandom.seed({SEED})\nRESTS = {rests}\n{WRITER}"


def state_of(bundle: Path) -> dict[str, str | None]:
    """The content of every file below ``/srv/state`` in an archive of a bundle of one layer; None for a symlink."""
    with tarfile.open(bundle) as archive:

        def read(name: str) -> bytes:
            file = archive.extractfile(name)
            assert file
            return file.read()

        index = json.loads(read("index.json"))
        manifest = json.loads(read("blobs/sha256/" + index["manifests"][0]["digest"][7:]))
        (layer,) = manifest["layers"]
        data = zstandard.ZstdDecompressor().stream_reader(
            io.BytesIO(read("blobs/sha256/" + layer["digest"][7:])), read_across_frames=True
        )
    found: dict[str, str | None] = {}
    with tarfile.open(fileobj=data, mode="r|") as layer_tar:
        for member in layer_tar:
            content = layer_tar.extractfile(member) if member.isreg() else None
            if content:
                found[member.name] = content.read().decode()
            elif member.issym():
                found[member.name] = None
    return found


def check_is_of_one_moment(state: dict[str, str | None]) -> None:
    if state == {"srv/state": None}:
        return  # the moment when a symlink stood in place of all
    lines: list[str | None] = []
    for number in range(FILES):
        content = state.pop(f"srv/state/{number:02}", None)
        whole = content is not None and len(content) == 120000 and len(set(content.splitlines())) == 1
        lines.append(content.splitlines()[0] if content and whole else None)
    assert lines.count(None) <= 1, "more than one file was half done"
    assert len(state) <= 1, state.keys()  # the moved name of the one that is missing
    turns = [int(line[3:]) for line in lines if line]
    assert turns == sorted(turns, reverse=True)
    assert turns[0] - turns[-1] <= 1


@pytest.mark.parametrize("reader", ["api", "direct"])
def test_a_capture_beside_a_writer_is_of_one_moment_or_refused(here: Host, tmp_path: Path, reader: str) -> None:
    print(f"races: {RACES} with seed {SEED}")
    container = here.run_script("first", ["/srv/state"], writer([0, 1, 5, 8]))
    outcomes = []
    for number in range(RACES):
        bundle = tmp_path / f"{number}.tar"
        outcome = here.bundle("push", "first", str(bundle), "--no-pause", "--reader", reader, "--quiet")
        assert outcome.code in (0, 3), outcome.err
        assert not here.paused(container)
        assert here.leftovers() == []
        assert bundle.exists() == (outcome.code == 0)
        if outcome.code == 0:
            check_is_of_one_moment(state_of(bundle))
        outcomes.append(outcome.code)
    print(f"{outcomes.count(0)} of one moment, {outcomes.count(3)} refused, by the reader {reader!r}")


@pytest.mark.parametrize("reader", ["api", "direct"])
def test_a_capture_beside_a_restless_writer_is_refused(here: Host, reader: str) -> None:
    container = here.run_script("first", ["/srv/state"], writer([0]))
    outcome = here.bundle("push", "first", "restless:1", "--no-pause", "--reader", reader)
    assert outcome.code == 3, outcome.err
    assert not here.paused(container)
    assert "restless" not in here.must("list").out


@pytest.mark.parametrize("reader", ["api", "direct"])
def test_a_paused_capture_beside_a_restless_writer_is_of_one_moment(here: Host, tmp_path: Path, reader: str) -> None:
    container = here.run_script("first", ["/srv/state"], writer([0]))
    bundles = [tmp_path / f"{number}.tar" for number in range(3)]
    for bundle in bundles:
        outcome = here.bundle("push", "first", str(bundle), "--reader", reader)
        assert outcome.code in (0, 3), outcome.err  # a link in place of the export can come between the looks and the pause
        assert not here.paused(container)
        if outcome.code == 0:
            check_is_of_one_moment(state_of(bundle))
    assert any(bundle.exists() for bundle in bundles)
