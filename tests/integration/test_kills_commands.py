"""A push or an apply that is killed leaves the old tag, file or image whole; the same command again makes it good."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import kills
import pytest
import tally
from bundles import verified
from opened import store
from world import Host, wait_until, within

from bundler.bundle import read_bundle

STATE = "import os\nos.makedirs('/srv', exist_ok=True)\nopen('/srv/state', 'wb').write(os.urandom({size} << 20))"


def layers(name: str) -> list[str]:
    """The layers of a bundle that was read to its last byte."""
    verified(store(name))
    return [str(layer.digest) for layer in read_bundle(store(name)).manifest.layers]


def leftovers(directory: Path) -> list[str]:
    return [str(path) for path in directory.rglob(".fps-bundle-*")]


@pytest.fixture
def bundles(here: Host, tmp_path: Path) -> tuple[str, str]:
    """Archives of the model's old state and of its new one; the model has the new one."""
    container = here.run_script("first", ["/srv"], STATE.format(size=1))
    old, new = str(tmp_path / "old.tar"), str(tmp_path / "new.tar")
    here.must("push", "first", old)
    here.execute(container, STATE.format(size=8))
    here.must("push", "first", new)
    return old, new


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["registry", "archive"])
def test_a_killed_push_leaves_a_whole_bundle(
    here: Host, bundles: tuple[str, str], registry: str, tmp_path: Path, kind: str
) -> None:
    old, new = bundles
    outcomes = {str(layers(old)): "the old one stood", str(layers(new)): "the new one stood"}

    def prepare(number: int) -> str:
        target = f"{registry}/kills/push-{number}:1" if kind == "registry" else str(tmp_path / "target.tar")
        here.must("copy", old, target)
        return target

    longest = kills.duration(partial(here.start, "push", "first", prepare(0)))
    for number, moment in enumerate(kills.moments(f"push {kind}", longest, since=0), start=1):
        target = prepare(number)
        kills.kill(here.start("push", "first", target), moment)
        tally.count(f"kill -9 of push to {kind} (FPS_BUNDLE_SEED={kills.SEED})", outcomes[str(layers(target))])
        wait_until(lambda: not here.paused("first"), within(5))
        kills.finish(here.start("push", "first", target))
        assert layers(target) == layers(new)
        assert not here.paused("first")
        assert leftovers(here.home) == leftovers(tmp_path) == []


@pytest.mark.operation("clean-up")
@pytest.mark.timeout(7200)
def test_a_killed_apply_leaves_a_whole_image(here: Host, there: Host, bundles: tuple[str, str], registry: str) -> None:
    old, new = bundles
    remote = f"{registry}/kills/apply:1"
    here.must("copy", new, remote)
    before = there.images()
    first = there.must("apply", old, "--tag", "copy:1", "--json").json["imageID"]
    longest = kills.duration(partial(there.start, "apply", remote, "--tag", "copy:1"))
    second = image(there, "copy:1")
    outcomes = {first: "the old one stood", second: "the new one stood"}
    for moment in kills.moments("apply", longest, since=0):
        there.must("apply", old, "--tag", "copy:1")
        there.api.remove_image("copy:1-previous", force=True)
        assert there.images() == {*before, first}
        kills.kill(there.start("apply", remote, "--tag", "copy:1"), moment)
        tally.count(f"kill -9 of apply (FPS_BUNDLE_SEED={kills.SEED})", outcomes[image(there, "copy:1")])
        kills.finish(there.start("apply", remote, "--tag", "copy:1"))
        assert image(there, "copy:1") == second
        assert there.images() == {*before, first, second}
        assert not [name for found in there.api.images() for name in found["RepoTags"] or () if "fps-bundle" in name]
        assert leftovers(there.home) == []


def image(host: Host, name: str) -> str:
    return str(host.api.inspect_image(name)["Id"])
