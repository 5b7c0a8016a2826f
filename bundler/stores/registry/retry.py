"""What is tried again on a bad link, after how long, and when it is given up."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from bundler.errors import StoreError
from bundler.stores.registry.limits import Limits

ATTEMPTS = 8
"""How often one thing is tried without getting any further."""

RETRIED = (408, 429, 500, 502, 503, 504)
"""Statuses of an answer that may be another one the next time (RFC 9110, section 15)."""

LEAST_PROGRESS = 4 << 10
"""Bytes by which work must have come further for an attempt to be no repetition of the one before."""
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
LONGEST_RETRY_AFTER = 120.0
"""Seconds; a registry that asks for more is not waited for that long."""


class TransientError(StoreError):
    """A failure that may not happen again; ``retry_after`` are the seconds that the registry asked for."""

    retry_after: float | None = None


def attempts(limits: Limits, tell: Callable[[str], None], come: Callable[[], int] = lambda: 0) -> Retrying:
    """Repeats what raises `TransientError`: exponential, with jitter, bounded, and told before each wait.

    ``come`` says how many bytes have come; an attempt after which these are clearly more counts as the first one again.
    """
    reached = come()

    def begin_anew(state: RetryCallState) -> None:
        nonlocal reached
        if (now := come()) >= reached + LEAST_PROGRESS:
            reached, state.attempt_number = now, 1

    backoff = wait_exponential_jitter(multiplier=FIRST_WAIT, max=LONGEST_WAIT, jitter=FIRST_WAIT)

    def wait(state: RetryCallState) -> float:
        error = _error(state)
        asked = error.retry_after if isinstance(error, TransientError) else None
        return limits.patience * (backoff(state) if asked is None else min(asked, LONGEST_RETRY_AFTER))

    def say(state: RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action else 0.0
        tell(f"{_error(state)}; attempt {state.attempt_number + 1} of {ATTEMPTS} in {seconds:.1f} s")

    return Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(ATTEMPTS),
        after=begin_anew,
        wait=wait,
        before_sleep=say,
        reraise=True,
    )


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
