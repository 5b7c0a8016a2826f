"""A model that learned a little goes on as its differences: by stick to where only its image is, and by registry."""

from __future__ import annotations

from pathlib import Path

import preloaded
import pytest
from world import Host

_FIRST = """
import os, random
os.makedirs('/srv/state', exist_ok=True)
random.seed(1)
open('/srv/state/weights', 'wb').write(random.randbytes(MEBIBYTES << 20))
open('/srv/state/log', 'w').write('line of a log\\n' * 1000)
"""
FIRST = f"MEBIBYTES = 12{_FIRST}"
LARGE_FIRST = f"MEBIBYTES = 70{_FIRST}"
"""The same with a file that is large enough for a layer of its own."""
LEARN = """
with open('/srv/state/weights', 'r+b') as file:
    file.seek({place} << 20)
    file.write(b'learned {place}')
open('/srv/state/log', 'a').write('day {place}\\n')
"""


def check_is_copy(here: Host, container: str, there: Host, image: str) -> None:
    copy = there.api.create_container(image)["Id"]
    assert there.tree(copy, "/srv/state") == here.tree(container, "/srv/state")
    there.api.remove_container(copy, force=True)


@pytest.mark.operation("apply")
def test_two_generations_by_stick_to_a_host_that_kept_no_bundle(
    here: Host, there: Host, tmp_path: Path, on_first_engine: bool
) -> None:
    container = here.run_script("first", ["/srv/state"], LARGE_FIRST if on_first_engine else FIRST)
    here.must("push", "first", "model:1")
    here.must("copy", "model:1", str(tmp_path / "1.tar"))
    there.must("apply", str(tmp_path / "1.tar"), "--tag", "copy:1")
    here.execute(container, LEARN.format(place=9))
    here.must("push", "first", "model:2")
    sent = here.must("copy", "model:2", str(tmp_path / "2.tar"), "--delta-from", "model:1", "--json").json
    assert (tmp_path / "2.tar").stat().st_size < 100_000
    assert there.must("list", "--json").json == []
    applied = there.must("apply", str(tmp_path / "2.tar"), "--tag", "copy:2", "--json").json
    assert applied["bundle"] == sent["digest"]
    check_is_copy(here, container, there, "copy:2")
    assert there.must("list", "--json").json == []
    assert there.leftovers() == []


def test_days_by_registry(here: Host, there: Host, registry: str) -> None:
    container = here.run_script("first", ["/srv/state"], FIRST)
    sizes = []
    for day in (1, 2, 3):
        here.execute(container, LEARN.format(place=day))
        pushed = here.must("push", "first", f"{registry}/deltas/days:{day}", "--delta", "--json").json
        sizes.append(pushed["sent"])
        assert bool(pushed["delta"]) == (day > 1)
    assert max(sizes[1:]) < 100_000 < sizes[0]
    again = here.must("push", "first", f"{registry}/deltas/days:4", "--delta", "--json").json
    assert again["unchanged"]
    assert again["digest"] == pushed["digest"]
    assert len(here.must("list", "--json").json) == 1
    there.must("apply", f"{registry}/deltas/days:3", "--tag", "copy:3")
    check_is_copy(here, container, there, "copy:3")


def test_through_a_pipe(here: Host, there: Host) -> None:
    """As over ssh: one process writes the delta, another one on the far host reads it."""
    container = here.run_script("first", ["/srv/state"], FIRST)
    here.must("push", "first", "model:1")
    through_pipe(here, there, ["copy", "model:1", "-"], ["apply", "-", "--tag", "copy:1"])
    here.execute(container, LEARN.format(place=5))
    here.must("push", "first", "model:2")
    copied = ["copy", "model:2", "-", "--delta-from", "model:1"]
    assert len(through_pipe(here, there, copied, ["apply", "-", "--tag", "copy:2"])) < 100_000
    check_is_copy(here, container, there, "copy:2")


def through_pipe(here: Host, there: Host, sending: list[str], receiving: list[str]) -> bytes:
    """Give what one command writes to another one as its input; returns it."""
    sent = preloaded.completed(*sending, "--quiet", environment=here.environment)
    assert sent.returncode == 0, sent.stderr
    received = preloaded.completed(*receiving, "--quiet", given=sent.stdout, environment=there.environment)
    assert received.returncode == 0, received.stderr
    return bytes(sent.stdout)
