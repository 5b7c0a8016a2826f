"""Any state that a model can have comes out as it went in, through several generations."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from states import State, build, states
from world import Host

EXAMPLES = int(os.environ.get("FPS_BUNDLE_STATES", "6"))
SEED = int(os.environ.get("FPS_BUNDLE_SEED", "20261123"))
BASE = "stated:1.0"

_numbers = itertools.count()


@pytest.fixture
def stated(here: Host, there: Host) -> Iterator[tuple[Host, Host]]:
    """Two hosts with a base whose ``/srv/base`` a model can take things away from."""
    container = here.run_script("making-the-base", [], "import shutil; shutil.copytree('/app', '/srv/base')")
    here.api.commit(container, *BASE.split(":"))
    here.api.remove_container(container, force=True)
    there.take_image(here, BASE)
    yield here, there
    for host in (here, there):
        host.clean()
        with contextlib.suppress(docker.errors.ImageNotFound):
            host.api.remove_image(BASE, force=True)


def check(hosts: tuple[Host, Host], generations: list[State], tmp_path: Path, reader: str) -> None:
    here, there = hosts
    image = BASE
    for state in generations:
        number = next(_numbers)
        name, archive, new = f"state-{number}", str(tmp_path / f"{number}.tar"), f"state:{number}"
        source = here.run_script(name, ["/srv"], build(state), image=image)
        here.must("push", name, archive, "--quiet", "--reader", reader)
        for host in hosts:
            host.must("apply", archive, "--tag", new, "--quiet")
        copy = there.api.create_container(new)["Id"]
        here.api.pause(source)
        expected = {name: entry for name, entry in here.tree(source, "/srv").items() if entry[0] != b"6"}
        here.api.unpause(source)
        assert there.tree(copy, "/srv") == without_links_to_fifos(expected)
        assert len(there.api.inspect_image(new)["RootFS"]["Layers"]) <= 3
        here.api.remove_container(source, force=True)
        there.api.remove_container(copy, force=True)
        image = new


def without_links_to_fifos(tree: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """FIFOs are left out, and hard links to them are no state either."""
    return {name: entry for name, entry in tree.items() if entry[0] != b"1" or entry[6] in tree}


def test_any_state_comes_out_as_it_went_in(stated: tuple[Host, Host], tmp_path: Path) -> None:
    print(f"states: {EXAMPLES} with seed {SEED}")

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(states, min_size=1, max_size=2), st.sampled_from(["api", "direct"]))
    def example(generations: list[State], reader: str) -> None:
        check(stated, generations, tmp_path, reader)

    example()
