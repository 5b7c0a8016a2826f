"""The end of a pause: the container is resumed if the pause is ours, and the files read count only if it stood still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from bundler.errors import BundlerError, ModelError

HINT = "Disable the program that did it for this container (an autoheal tool, for example), then run the command again."


@dataclass(frozen=True)
class Fault:
    """Why the files read are not of one moment; ``ours`` tells whether our pause still lasts."""

    error: ModelError
    ours: bool = False


class Observations(Protocol):
    """What is observed of one container from its pause on."""

    def begin(self) -> None:
        """Record the state after the pause; raises `ModelError` when the container was restarted since its lookup."""
        ...

    def fault(self) -> Fault | None:
        """Return why the container did not stay paused by us, or None; raises `EngineError` when neither can be proven."""
        ...


@contextmanager
def proven(proof: Observations, resume: Callable[[], None], settle: Callable[[], None]) -> Iterator[None]:
    """Observe a container that was just paused, and resume it after the block unless another process has paused it since.

    Raises `ModelError` after the block when the container did not stay paused. ``settle`` is called when it needs no further
    action.
    """
    failure: BaseException | None = None
    try:
        proof.begin()
        yield
    except BaseException as error:
        failure = error
    fault, unproven = None, None
    try:
        fault = proof.fault()
    except BundlerError as error:
        unproven = error
    if fault is None or fault.ours:
        resume()
    settle()
    if failure and not isinstance(failure, BundlerError):
        raise failure
    if fault:
        raise fault.error from failure
    if failure:
        raise failure
    if unproven:
        raise unproven


def disturbed(what: str, paused: str = "", command: str = "") -> ModelError:
    """The error for a pause that did not last.

    ``paused`` is the container's name if another process has paused it now; ``command`` then resumes it, by default Docker's.
    """
    message = f"{what} while fps-bundle read its files: they are not of one moment"
    if not paused:
        return ModelError(message, hint=HINT)
    return ModelError(
        message,
        hint=f"{HINT} The container is paused by that process, so fps-bundle does not resume it. To resume it, run:",
        command=command or f"docker unpause {paused}",
    )
