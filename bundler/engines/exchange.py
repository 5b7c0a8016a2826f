"""One container takes the place of another; an interrupted exchange is finished or undone by the next command.

The old container is stopped and renamed, the new one gets its name and is started. When the new one is accepted, the old one
is renamed to NAME-previous: that is the commit. Before it everything is undone, after it everything is finished, whether by
this process or, by its note, by the next one. A container is started only after the other was stopped or removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

from bundler.engines import journal
from bundler.errors import BundlerError, EngineError

NO_POLICY = "no"
"""The restart policy of a container that is not started by the engine."""


@dataclass(frozen=True)
class Found:
    """A container as the engine reports it; ``instance`` identifies one start of it."""

    id: str
    name: str
    running: bool
    instance: str
    policy: str
    retries: str


class Calls(Protocol):
    """Changes of containers. Each raises `EngineError` unless the engine reports the wanted state afterwards."""

    def find(self, container: str) -> Found | None:
        """Find a container by ID or complete name."""
        ...

    def rename(self, container: str, name: str) -> None: ...

    def stop(self, container: str) -> None: ...

    def start(self, container: str) -> None: ...

    def remove(self, container: str) -> None:
        """Stop and remove a container and its anonymous volumes; a missing one is not an error."""
        ...

    def set_policy(self, container: str, policy: str, retries: str) -> None:
        """Set the restart policy, where the engine can change it."""
        ...


@dataclass(frozen=True)
class Plan:
    """An exchange, as it stands in its note: IDs and names of containers, and how the old one was before.

    ``created`` is set when the new container was created for the exchange, so that undoing removes it. ``older`` is the ID
    of the container that was NAME-previous before. ``unique`` makes the names in between unique.
    """

    host: str
    name: str
    old: str
    new: str
    unique: str
    created: str
    running: str
    instance: str
    policy: str
    retries: str
    older: str = ""

    @property
    def previous(self) -> str:
        """The name that the old container gets."""
        return previous_name(self.name)

    @property
    def aside(self) -> str:
        """The name of the old container until the new one is accepted."""
        return f"{self.previous}-{self.unique}"

    @property
    def beyond(self) -> str:
        """The name of the container that was NAME-previous until then, while it is removed."""
        return f"{self.name}-older-{self.unique}"

    def content(self) -> dict[str, str]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, content: dict[str, str]) -> Plan | None:
        """Read a plan from its note; None from a damaged one, which was not complete before any container changed."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: content[name] for name in names}) if set(names) <= set(content) else None


def previous_name(name: str) -> str:
    """The name of the container that had a name before."""
    return f"{name}-previous"


def directory(state: Path) -> Path:
    """The directory of the notes."""
    return state / "exchanged"


@contextmanager
def exchanged(calls: Calls, notes: Path, plan: Plan) -> Iterator[None]:
    """Let the new container run in place of the old one from the beginning of the block, and after it.

    After an error in the block, or before it, the old container is as it was.
    """
    with journal.noted(notes, plan.old, plan.content()) as note:
        stopping = False
        try:
            calls.set_policy(plan.old, NO_POLICY, "0")
            stopping = True
            calls.stop(plan.old)
            calls.rename(plan.old, plan.aside)
            calls.rename(plan.new, plan.name)
            calls.start(plan.new)
            yield
            if plan.older:
                calls.rename(plan.older, plan.beyond)
            calls.rename(plan.old, plan.previous)
        except BaseException as error:
            _undo_after(error, calls, plan, restart=stopping)
            note.settle()
            raise
        try:
            _finish(calls, plan)
        except BundlerError as error:
            raise EngineError(
                f"the container {plan.name} was replaced, but this was not completed: {error.message}",
                hint="The next command that uses this engine completes it:",
                command="fps-bundle doctor",
            ) from error
        note.settle()


def recover(calls: Calls, notes: Path, host: str) -> list[str]:
    """Finish or undo the exchanges of dead processes on the engine ``host``; returns what was done.

    Raises `EngineError` when that fails. The note stays then, so each further command tries again.
    """
    actions = []
    for left in journal.abandoned(notes):
        plan = Plan.of(dict(left.content))
        if plan and plan.host != host:
            continue
        if plan:
            try:
                actions.append(_recovered(calls, plan))
            except BundlerError as error:
                error.message = f"cannot clean up after an interrupted replacement of the container {plan.name}: {error.message}"
                raise
        left.path.unlink(missing_ok=True)
    return actions


def _recovered(calls: Calls, plan: Plan) -> str:
    old, new = calls.find(plan.old), calls.find(plan.new)
    if not old and not new:
        return f"the container {plan.name} and the one that was to replace it no longer exist"
    holder = calls.find(plan.name)
    if holder and holder.id not in (plan.old, plan.new):
        return _left_alone(calls, plan, old or new)
    if new and (not old or old.name == plan.previous):
        if new.name != plan.name:
            calls.rename(plan.new, plan.name)
        _finish(calls, plan)
        return f"finished the replacement of the container {plan.name}, which {_state(new)}"
    _undo(calls, plan, restart=True)
    return f"undid the replacement of the container {plan.name}; the old one {_state(calls.find(plan.old))}"


def _left_alone(calls: Calls, plan: Plan, kept: Found | None) -> str:
    """Another container has the name now, so no container is renamed or started."""
    if plan.created and kept and kept.id == plan.old:
        calls.remove(plan.new)
    name = kept.name if kept else ""
    return f"{plan.name} is another container now; the one that had the name is kept as {name}"


def _state(found: Found | None) -> str:
    return "runs" if found and found.running else "does not run"


def _undo_after(error: BaseException, calls: Calls, plan: Plan, *, restart: bool) -> None:
    """Undo an exchange after an error; raises `EngineError` with both reasons when that fails too."""
    try:
        _undo(calls, plan, restart=restart)
    except BundlerError as failure:
        reason = error.message if isinstance(error, BundlerError) else type(error).__name__
        raise EngineError(
            f"{reason}; then the old container {plan.name} could not be restored: {failure.message}",
            hint="Correct the cause; the next fps-bundle command that uses this engine tries again. Or start it:",
            command=f"docker start {plan.old[:12]}",
        ) from error


def _undo(calls: Calls, plan: Plan, *, restart: bool) -> None:
    """Give the old container its name, its restart policy and its state back.

    With ``restart`` a request to stop it may still be in progress. Then a container that is still in the same run is
    stopped, which waits for that request, and started.
    """
    _withdraw_new(calls, plan)
    old = calls.find(plan.old)
    if not old:
        raise EngineError(f"the container {plan.name} ({plan.old[:12]}) no longer exists")
    if old.name != plan.name:
        calls.rename(plan.old, plan.name)
    if plan.older and (older := calls.find(plan.older)) and older.name != plan.previous:
        calls.rename(plan.older, plan.previous)
    calls.set_policy(plan.old, plan.policy, plan.retries)
    may_be_stopping = restart and old.running and old.instance == plan.instance
    if plan.running and may_be_stopping:
        calls.stop(plan.old)
    if plan.running and (may_be_stopping or not old.running):
        calls.start(plan.old)


def _withdraw_new(calls: Calls, plan: Plan) -> None:
    """Remove a new container that was created for the exchange; stop one that was not, and give it its name back."""
    new = calls.find(plan.new)
    if new and plan.created:
        calls.remove(plan.new)
    elif new:
        if new.running:
            calls.stop(plan.new)
        if new.name != plan.previous:
            calls.rename(plan.new, plan.previous)


def _finish(calls: Calls, plan: Plan) -> None:
    """Complete an accepted exchange: the new container gets the restart policy, and the container before the old one is removed."""
    calls.set_policy(plan.new, plan.policy, plan.retries)
    if plan.older:
        calls.remove(plan.older)
