"""Pausing of containers; a container is resumed even if this process is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bundler.engines import pause_guard
from bundler.engines.connection import Client, errors, is_refusal
from bundler.engines.containers import Containers
from bundler.engines.engine_facts import EngineFacts
from bundler.engines.pause_proof import proven_pause
from bundler.errors import EngineError
from bundler.localfs import state_directory
from bundler.ports import Container


class Pauser:
    """Pauses and resumes containers; ``given`` is the engine's name on the command line, for the watchdog."""

    def __init__(self, api: Client, facts: EngineFacts, containers: Containers, given: str) -> None:
        self._api = api
        self._facts = facts
        self._containers = containers
        self._given = given

    @contextmanager
    def paused(self, container: Container) -> Iterator[None]:
        with pause_guard.guarded(state_directory.directory(), self._api.where, container.id, self._given) as note:

            def pause() -> None:
                try:
                    with errors(self._api, f"pausing the container {container.name}"):
                        self._api.pause(container.id)
                except EngineError as error:
                    if is_refusal(error):
                        note.settle()  # the container is not paused, or not by us
                    raise

            resume = partial(self.resume, container.id)
            is_podman = self._facts.is_podman
            with proven_pause(self._api, self._containers, container, note, is_podman=is_podman, pause=pause, resume=resume):
                yield

    def is_paused(self, container_id: str) -> bool:
        """Whether a container is paused; a removed one is not."""
        state = self._containers.state(container_id)
        return bool(state and state.paused)

    def resume(self, container_id: str) -> None:
        """Unpause a container; raises `EngineError` when it is still paused afterwards."""
        try:
            with errors(self._api, "resuming the container"):
                self._api.unpause(container_id)
        except EngineError as error:
            if self.is_paused(container_id):
                raise _still_paused(error.message, container_id) from error
            return
        if self.is_paused(container_id):
            raise _still_paused("the engine reported that it resumed the container, but it is still paused", container_id)

    def resume_abandoned(self) -> list[str]:
        """Resume the containers that a killed process of ours left paused on this engine; returns what was done."""
        actions = []
        for left in pause_guard.abandoned(state_directory.directory()):
            if left.host == self._api.where:
                if self.is_paused(left.container):
                    self.resume(left.container)
                    actions.append(f"resumed the paused container {left.container[:12]}")
                left.journal.unlink(missing_ok=True)
        return actions


def _still_paused(message: str, container_id: str) -> EngineError:
    hint = "The container is still paused. Resume it with:"
    return EngineError(message, hint=hint, command=f"docker unpause {container_id[:12]}")
