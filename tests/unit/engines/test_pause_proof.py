"""What is done when a pause ends: the model goes on unless another process paused it, and what broke the pause is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fakes import container

from bundler.engines.answers import State
from bundler.engines.containers import Containers
from bundler.engines.events import Event
from bundler.engines.pause_proof import Proof, proven
from bundler.errors import EngineError, ModelError

RUNNING = {"Running": True, "Paused": False, "StartedAt": "then", "Pid": 7}
ONE = container(instance=State.model_validate(RUNNING).instance)
OURS = Event(1, "pause")


class FakeApi:
    """An engine's client that knows one container."""

    where = "unix:///socket"

    def __init__(self) -> None:
        self.state: dict[str, Any] = dict(RUNNING)
        self.events: list[Event] | None = []
        self.resumes = 0
        self.settled = False
        self.fails = False

    def inspect_container(self, name: str) -> dict[str, Any]:
        assert name == ONE.id
        return {"State": self.state}

    def after(self, first: Event | None) -> list[Event] | None:
        del first
        return self.events

    def pause(self) -> None:
        self.state = {**RUNNING, "Paused": True}
        self.events = [OURS]

    def resume(self) -> None:
        self.resumes += 1
        if self.fails:
            raise EngineError("the container is still paused")

    def settle(self) -> None:
        self.settled = True

    @contextmanager
    def held(self) -> Iterator[None]:
        proof = Proof(self, Containers(self, 1), ONE, self)  # type: ignore[arg-type]
        self.pause()
        with proven(proof, self.resume, self.settle):
            yield


def ended(act: Callable[[FakeApi], object]) -> tuple[FakeApi, BaseException | None]:
    """The engine after a pause in which something happened, and how it ended."""
    api = FakeApi()
    try:
        with api.held():
            act(api)
    except BaseException as error:
        return api, error
    return api, None


def paused_again(api: FakeApi) -> None:
    api.events = [OURS, Event(2, "unpause"), Event(3, "pause")]


def test_an_undisturbed_pause_ends() -> None:
    api, error = ended(lambda _: None)
    assert (api.resumes, api.settled, error) == (1, True, None)


def test_a_model_that_cannot_be_resumed_is_left_to_the_watchdog() -> None:
    def act(api: FakeApi) -> None:
        api.fails = True

    api, error = ended(act)
    assert isinstance(error, EngineError)
    assert not api.settled


def test_a_pause_of_others_is_not_ended() -> None:
    api, error = ended(paused_again)
    assert isinstance(error, ModelError)
    assert (api.resumes, api.settled, error.command) == (0, True, "docker unpause detector")


def test_what_broke_the_reading_is_named_by_its_cause() -> None:
    def act(api: FakeApi) -> None:
        api.state = {**RUNNING, "Pid": 8, "StartedAt": "later"}
        raise EngineError("what the engine sent is incomplete")

    api, error = ended(act)
    assert isinstance(error, ModelError)
    assert "another process restarted detector" in error.message
    assert isinstance(error.__cause__, EngineError)
    assert api.resumes == 0


def test_an_error_in_an_undisturbed_pause_stays_that_error() -> None:
    failure = EngineError("gone")

    def act(_: FakeApi) -> None:
        raise failure

    api, error = ended(act)
    assert error is failure
    assert api.resumes == 1


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("bug"), SystemExit(143)])
def test_an_interruption_stays_one_and_leaves_a_pause_of_others_alone(failure: BaseException) -> None:
    def act(api: FakeApi) -> None:
        paused_again(api)
        raise failure

    api, error = ended(act)
    assert error is failure
    assert api.resumes == 0


def test_lost_events_end_the_push_but_not_the_model() -> None:
    def act(api: FakeApi) -> None:
        api.events = None

    api, error = ended(act)
    assert isinstance(error, EngineError)
    assert "the engine lost its events" in error.message
    assert api.resumes == 1


def test_a_resume_just_before_our_pause_is_refused() -> None:
    api = FakeApi()
    api.pause()
    paused_again(api)
    with (
        pytest.raises(ModelError, match="at the same time"),
        proven(Proof(api, Containers(api, 1), ONE, api), api.resume, api.settle),  # type: ignore[arg-type]
    ):
        pytest.fail("it was read")
    assert api.resumes == 1
