"""A pause of a container, with the proof that no other process resumed it meanwhile.

Three things are compared: the start of the container (``StartedAt``, ``Pid``), whether it is paused, and the engine's
events, which also show that it was resumed and paused again. If the engine keeps no events, the CPU time of the container
takes their place: a process that ran has used some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from bundler.engines import answers
from bundler.engines.answers import State
from bundler.engines.connection import TIMEOUT, Client, errors, url
from bundler.engines.containers import Containers
from bundler.engines.events import Event, EventLog
from bundler.engines.journal import Note
from bundler.engines.proven_pause import HINT, Fault, disturbed, proven
from bundler.errors import EngineError, ModelError
from bundler.ports import Container

_WRITTEN = "extract-to-dir"
"""The event of ``docker cp`` into a container."""
_RESUMED = ("unpause", "die", "died", "start", "restart", "stop")


@contextmanager
def proven_pause(
    api: Client,
    containers: Containers,
    container: Container,
    note: Note,
    *,
    is_podman: bool,
    pause: Callable[[], None],
    resume: Callable[[], None],
) -> Iterator[None]:
    """Pause a container for the length of the block; resume it unless another process has paused it since.

    Raises `ModelError` after the block when the container did not stay paused. ``note`` is settled when
    the container needs no further action.
    """
    with closing(EventLog(api, container.id, is_podman=is_podman)) as log:
        pause()
        with proven(Proof(api, containers, container, log), resume, note.settle):
            yield


class Proof:
    """The observations of one container from its pause on."""

    def __init__(self, api: Client, containers: Containers, container: Container, log: EventLog) -> None:
        self._api = api
        self._containers = containers
        self._container = container
        self._log = log
        self._pause: Event | None = None
        self._cpu_time: int | None = None
        self._begun = False

    def begin(self) -> None:
        """Record the state after the pause; raises `ModelError` when the container was restarted since its lookup."""
        name, state = self._container.name, self._state() or State()
        if state.instance != self._container.instance:
            raise ModelError(f"{name} was restarted before it was paused", hint="Run the command again.")
        events = [event for event in self._log.after(None) or () if event.action in ("pause", "unpause")]
        if len(events) > 1:
            raise ModelError(f"another process paused or resumed {name} at the same time", hint=HINT)
        if not state.paused:
            raise EngineError(
                f"the engine reported that it paused {name}, but it is not paused", hint="Read the engine's log, or use --no-pause."
            )
        if events:
            self._pause = events[0]
        else:
            self._cpu_time = self._measure_cpu_time()
            if self._cpu_time is None:
                raise EngineError(
                    f"cannot prove that {name} stays paused: the engine keeps no events and reports no CPU time",
                    hint="With Podman set events_logger to file or journald in containers.conf, or use --no-pause.",
                )
        self._begun = True

    def fault(self) -> Fault | None:
        """Return why the container did not stay paused by us, or None; raises `EngineError` when neither can be proven."""
        if not self._begun:
            return None
        name, state = self._container.name, self._state()
        if not state or not state.running:
            return Fault(disturbed(f"{name} was stopped"))
        if state.instance != self._container.instance:
            return Fault(disturbed(f"another process restarted {name}", self._pause_of_others(state)))
        if not state.paused:
            return Fault(disturbed(f"another process resumed {name}"))
        return self._fault_by_cpu_time() if self._pause is None else self._fault_by_events()

    def _fault_by_events(self) -> Fault | None:
        name, events = self._container.name, self._log.after(self._pause)
        if events is None:
            raise EngineError(
                f"cannot prove that {name} stayed paused: the engine lost its events of that time",
                hint="Run the command again; the engine may have restarted.",
            )
        actions = [event.action for event in events[1:]]
        if any(action in _RESUMED for action in actions):
            return Fault(disturbed(f"another process resumed {name} and paused it again", name))
        if _WRITTEN in actions:
            return Fault(disturbed(f"another process copied files into {name}"), ours=True)
        return None

    def _fault_by_cpu_time(self) -> Fault | None:
        now = self._measure_cpu_time()
        if now is None:
            raise EngineError(
                f"cannot prove that {self._container.name} stayed paused: the engine no longer reports its CPU time",
                hint="Run the command again.",
            )
        if now != self._cpu_time:
            return Fault(disturbed(f"another process resumed {self._container.name} and paused it again", self._container.name))
        return None

    def _pause_of_others(self, state: State) -> str:
        return self._container.name if state.paused else ""

    def _state(self) -> State | None:
        return self._containers.state(self._container.id, f"the container {self._container.name}")

    def _measure_cpu_time(self) -> int | None:
        """Return the CPU time that the container has used, in nanoseconds; None if the engine does not report it."""
        parameters = {"stream": "false", "one-shot": "true"}
        with errors(self._api, "requesting the container's CPU time"):
            response = self._api.get(url(self._api, f"/containers/{self._container.id}/stats"), params=parameters, timeout=TIMEOUT)
            return answers.read(answers.Stats, answers.parse(response.content)).cpu_time or None if response.ok else None
