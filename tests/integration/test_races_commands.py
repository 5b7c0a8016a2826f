"""Two pushes or two applies at once: both are done, or one is told; what stands there is one of the two, whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tally
from bundles import verified
from opened import store
from world import Host, Outcome

RACES = int(os.environ.get("FPS_BUNDLE_RACES", "2"))
STATE = "import os\nos.makedirs('/srv')\nopen('/srv/state', 'wb').write(os.urandom(4 << 20))"


def together(host: Host, *commands: tuple[str, ...]) -> list[Outcome]:
    processes = [host.start(*command) for command in commands]
    outcomes = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        outcomes.append(Outcome(process.returncode, out, err))
    return outcomes


def check_told(outcomes: list[Outcome], what: str) -> list[Outcome]:
    """Those that are done; the others were told that they lost a race, in one sentence."""
    done = [outcome for outcome in outcomes if outcome.code == 0]
    assert done, [outcome.err for outcome in outcomes]
    assert all(outcome.code in (0, 12) and "Traceback" not in outcome.err for outcome in outcomes), [
        outcome.err for outcome in outcomes
    ]
    tally.count(what, "both done" if len(done) == 2 else "one told")
    return done


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "models"), [("registry", 1), ("registry", 2), ("archive", 2), ("layout", 2), ("local store", 2)])
def test_two_pushes_at_once_leave_one_whole_bundle(
    here: Host, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, models: int
) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", here.environment["FPS_BUNDLE_STORE"])
    names = ["first", "second"][:models]
    containers = [here.run_script(name, ["/srv"], STATE) for name in names]
    for number in range(RACES):
        target = {
            "registry": f"{registry}/races/{models}/{number}:1",
            "archive": f"{tmp_path}/{number}.tar",
            "layout": f"oci:{tmp_path}/{number}:1",
            "local store": f"race-{number}:1",
        }[kind]
        outcomes = together(here, ("push", names[0], target), ("push", names[-1], target))
        done = check_told(outcomes, f"two pushes of {models} models at once to one {kind}")
        assert str(verified(store(target))) in [outcome.out.strip() for outcome in done]
        assert not any(here.paused(container) for container in containers)
        assert here.leftovers() == [path.name for path in tmp_path.rglob(".fps-bundle-*")] == []


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("bundles", [1, 2])
def test_two_applies_at_once_leave_one_whole_image(here: Host, there: Host, registry: str, bundles: int) -> None:
    for number in range(bundles):
        here.run_script(f"model-{number}", ["/srv"], STATE)
        here.must("push", f"model-{number}", f"{registry}/races/apply-{bundles}:{number}")
    names = [f"{registry}/races/apply-{bundles}:{number % bundles}" for number in range(2)]
    expected = {there.must("apply", name, "--tag", "alone:1", "--json").json["imageID"] for name in names}
    there.clean()
    base = there.images()
    for number in range(RACES):
        tag = f"race-{number}:1"
        outcomes = together(there, *(("apply", name, "--tag", tag, "--json") for name in names))
        done = check_told(outcomes, f"two applies of {bundles} bundles at once to one tag")
        image = there.api.inspect_image(tag)["Id"]
        assert image in [outcome.json["imageID"] for outcome in done]
        assert base < there.images() <= base | expected
        assert not [name for found in there.api.images() for name in found["RepoTags"] or () if "fps-bundle" in name]
        assert there.leftovers() == []
        there.clean()
