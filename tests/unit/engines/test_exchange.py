"""One container takes the place of another: whatever fails, and wherever the process is killed, one of the two runs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.engines import exchange
from bundler.engines.exchange import Found, Plan
from bundler.errors import EngineError, ModelError

HERE = "unix:///here.sock"
OLD, NEW, OLDER, OTHER = "o" * 64, "n" * 64, "p" * 64, "x" * 64
NAMES = {OLD: "model", NEW: "fps-bundle-1", OLDER: "model-previous"}


class Killed(BaseException):
    """The process is gone: whatever it would do now, it does not."""


class World:
    """The containers of an engine. A call ``fails_at`` its number, or kills the process before it is made."""

    def __init__(self, *, older: bool = False, running: bool = True) -> None:
        self.starts = itertools.count(1)
        self.containers = {OLD: Found(OLD, "model", running, "0", "always", "0"), NEW: Found(NEW, NAMES[NEW], False, "", "no", "0")}
        if older:
            self.containers[OLDER] = Found(OLDER, "model-previous", False, "", "no", "0")
        self.calls: list[tuple[str, ...]] = []
        self.fails_at = self.killed_at = 0
        self.dead = False

    def find(self, container: str) -> Found | None:
        self._alive()
        return next((found for found in self.containers.values() if container in (found.id, found.name)), None)

    def rename(self, container: str, name: str) -> None:
        self._call("rename", container, name)
        assert name not in [found.name for found in self.containers.values()]
        self._change(container, name=name)

    def stop(self, container: str) -> None:
        self._call("stop", container)
        self._change(container, running=False)

    def start(self, container: str) -> None:
        self._call("start", container)
        assert not any(found.running for found in self.containers.values() if found.id in (OLD, NEW)), "two of them run"
        self._change(container, running=True, instance=str(next(self.starts)))

    def remove(self, container: str) -> None:
        self._call("remove", container)
        self.containers.pop(container, None)

    def set_policy(self, container: str, policy: str, retries: str) -> None:
        self._call("set_policy", container, policy)
        if container in self.containers:
            self._change(container, policy=policy, retries=retries)

    def _change(self, container: str, **changes: object) -> None:
        self.containers[container] = replace(self.containers[container], **changes)  # type: ignore[arg-type]

    def _alive(self) -> None:
        if self.dead:
            raise Killed

    def _call(self, *call: str) -> None:
        self._alive()
        if len(self.calls) + 1 == self.killed_at:
            self.dead = True
            raise Killed
        self.calls.append(call)
        if len(self.calls) == self.fails_at:
            raise EngineError("the engine is on fire")

    def names(self) -> dict[str, str]:
        return {found.name: found.id for found in self.containers.values()}

    def running(self) -> list[str]:
        return [found.name for found in self.containers.values() if found.running]


def plan(*, older: bool = False, created: bool = True, running: bool = True) -> Plan:
    return Plan(
        host=HERE,
        name="model",
        old=OLD,
        new=NEW,
        unique="1",
        created="yes" if created else "",
        running="yes" if running else "",
        instance="0",
        policy="always",
        retries="0",
        older=OLDER if older else "",
    )


def run(world: World, notes: Path, wanted: Plan, error: BaseException | None = None) -> None:
    with exchange.exchanged(world, notes, wanted):
        assert world.running() == ["model"]
        if error:
            raise error


def check_undone(world: World, *, older: bool = False, created: bool = True, running: bool = True) -> None:
    new = {} if created else {"model-previous": NEW}
    assert world.names() == {"model": OLD, **new, **({"model-previous": OLDER} if older else {})}
    assert world.running() == (["model"] if running else [])
    assert world.containers[OLD].policy == "always"


def check_done(world: World) -> None:
    assert world.names() == {"model": NEW, "model-previous": OLD}
    assert world.running() == ["model"]
    assert (world.containers[NEW].policy, world.containers[OLD].policy) == ("always", "no")


def kept(world: World) -> Plan:
    """An exchange with a container that was replaced before."""
    world.containers[NEW] = replace(world.containers[NEW], name="model-previous")
    return plan(created=False)


@pytest.mark.parametrize("older", [False, True])
def test_the_new_container_gets_the_name_and_the_policy_of_the_old_one(tmp_path: Path, older: bool) -> None:
    world = World(older=older)
    run(world, tmp_path, plan(older=older))
    check_done(world)
    assert list(tmp_path.iterdir()) == []


def test_a_container_that_does_not_get_ready_is_removed_and_the_old_one_runs_again(tmp_path: Path) -> None:
    world = World(older=True)
    with pytest.raises(ModelError, match="ill"):
        run(world, tmp_path, plan(older=True), ModelError("ill"))
    check_undone(world, older=True)
    assert list(tmp_path.iterdir()) == []


def test_a_container_that_did_not_run_does_not_run_after_a_failure(tmp_path: Path) -> None:
    world = World(running=False)
    with pytest.raises(ModelError):
        run(world, tmp_path, plan(running=False), ModelError("ill"))
    check_undone(world, running=False)


def test_two_that_were_swapped_are_swapped_back(tmp_path: Path) -> None:
    world = World()
    run(world, tmp_path, kept(world))
    check_done(world)
    world = World()
    with pytest.raises(ModelError):
        run(world, tmp_path, kept(world), ModelError("ill"))
    check_undone(world, created=False)


@pytest.mark.parametrize("created", [True, False])
@pytest.mark.parametrize("number", range(1, 12))
def test_a_failed_call_undoes_all_or_is_finished_by_the_next_command(tmp_path: Path, number: int, created: bool) -> None:
    world = World(older=created)
    wanted = plan(older=True) if created else kept(world)
    world.fails_at = number
    try:
        run(world, tmp_path, wanted)
    except EngineError:
        committed = world.names().get("model-previous") == OLD
        assert exchange.recover(world, tmp_path, HERE) == (
            ["finished the replacement of the container model, which runs"] if committed else []
        )
        if not committed:
            check_undone(world, older=created, created=created)
            return
    check_done(world)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("created", [True, False])
@pytest.mark.parametrize("number", range(1, 12))
def test_the_next_command_finishes_or_undoes_what_a_killed_one_began(tmp_path: Path, number: int, created: bool) -> None:
    world = World(older=created)
    wanted = plan(older=True) if created else kept(world)
    world.killed_at = number
    try:
        run(world, tmp_path, wanted)
    except Killed:
        world.dead, world.killed_at = False, 0
        assert len(world.running()) <= 1
        (said,) = exchange.recover(world, tmp_path, HERE)
        if said.startswith("undid"):
            check_undone(world, older=created, created=created)
            return
        assert said == "finished the replacement of the container model, which runs"
    check_done(world)
    assert exchange.recover(world, tmp_path, HERE) == []


@pytest.mark.parametrize("number", range(1, 20))
def test_a_process_that_is_killed_while_it_undoes_is_followed_by_one_that_goes_on(tmp_path: Path, number: int) -> None:
    world = World(older=True)
    world.killed_at = number
    with pytest.raises((Killed, ModelError)):
        run(world, tmp_path, plan(older=True), ModelError("ill"))
    world.dead, world.killed_at = False, 0
    assert len(world.running()) <= 1
    exchange.recover(world, tmp_path, HERE)
    check_undone(world, older=True)


def test_a_stop_that_is_still_in_progress_is_waited_for(tmp_path: Path) -> None:
    """A container that still runs when the process is killed may be about to stop."""
    world = World()
    world.killed_at = 2  # the request is sent, but not carried out yet
    with pytest.raises(Killed):
        run(world, tmp_path, plan())
    world.dead, world.killed_at = False, 0
    exchange.recover(world, tmp_path, HERE)
    assert ("stop", OLD) in world.calls
    check_undone(world)


def test_a_failure_before_the_stop_does_not_restart_the_model(tmp_path: Path) -> None:
    world = World()
    world.fails_at = 1
    with pytest.raises(EngineError):
        run(world, tmp_path, plan())
    assert not [call for call in world.calls if call[0] in ("stop", "start")]
    check_undone(world)


def test_when_undoing_fails_too_both_reasons_are_told_and_the_next_command_goes_on(tmp_path: Path) -> None:
    world = World()
    world.fails_at = 7  # the old one's name is given back
    with pytest.raises(
        EngineError, match="ill; then the old container model could not be restored: the engine is on fire"
    ) as caught:
        run(world, tmp_path, plan(), ModelError("ill"))
    assert world.calls[6] == ("rename", OLD, "model")
    assert caught.value.command == f"docker start {OLD[:12]}"
    assert exchange.recover(world, tmp_path, HERE) == ["undid the replacement of the container model; the old one runs"]
    check_undone(world)


def test_a_clean_up_that_fails_is_told_and_tried_again(tmp_path: Path) -> None:
    world = left(tmp_path, World(), 4)
    world.fails_at = len(world.calls) + 1
    with pytest.raises(EngineError) as caught:
        exchange.recover(world, tmp_path, HERE)
    assert caught.value.message == (
        "cannot clean up after an interrupted replacement of the container model: the engine is on fire"
    )
    assert len(exchange.recover(world, tmp_path, HERE)) == 1
    check_undone(world)


def test_an_accepted_container_stays_when_the_rest_fails(tmp_path: Path) -> None:
    world = World(older=True)
    world.fails_at = 8
    with pytest.raises(EngineError, match="the container model was replaced, but this was not completed") as caught:
        run(world, tmp_path, plan(older=True))
    assert world.calls[7][:2] == ("set_policy", NEW)
    assert caught.value.command == "fps-bundle doctor"
    exchange.recover(world, tmp_path, HERE)
    check_done(world)


def left(tmp_path: Path, world: World, number: int) -> World:
    world.killed_at = number
    with pytest.raises(Killed):
        run(world, tmp_path, plan())
    world.dead, world.killed_at = False, 0
    return world


def test_a_name_that_another_container_has_by_now_is_left_alone(tmp_path: Path) -> None:
    world = left(tmp_path, World(), 4)  # the old one is aside
    world.containers[OTHER] = Found(OTHER, "model", True, "7", "no", "0")
    (said,) = exchange.recover(world, tmp_path, HERE)
    assert said == "model is another container now; the one that had the name is kept as model-previous-1"
    assert world.names() == {"model": OTHER, "model-previous-1": OLD}
    assert list(tmp_path.iterdir()) == []


def test_containers_that_were_removed_by_hand_are_not_missed(tmp_path: Path) -> None:
    world = left(tmp_path, World(), 4)
    world.containers.clear()
    assert "no longer exist" in exchange.recover(world, tmp_path, HERE)[0]
    world = left(tmp_path, World(), 4)
    del world.containers[OLD]
    assert exchange.recover(world, tmp_path, HERE) == ["finished the replacement of the container model, which does not run"]
    assert world.names() == {"model": NEW}


def test_notes_of_other_engines_and_damaged_ones_change_nothing(tmp_path: Path) -> None:
    world = left(tmp_path, World(), 4)
    calls = list(world.calls)
    assert exchange.recover(world, tmp_path, "unix:///there.sock") == []
    (note,) = tmp_path.iterdir()
    note.write_text('{"host": "unix:///here.sock"')
    assert exchange.recover(world, tmp_path, HERE) == []
    assert world.calls == calls
    assert list(tmp_path.iterdir()) == []
