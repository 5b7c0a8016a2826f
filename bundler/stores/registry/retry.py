"""Retries: which failures are retried, after which wait, and how often."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from bundler.errors import StoreError
from bundler.stores.registry.limits import Limits

ATTEMPTS = 8
"""Attempts without progress."""

RETRIED = (408, 429, 500, 502, 503, 504)
"""Response statuses that are retried (RFC 9110, section 15)."""

LEAST_PROGRESS = 4 << 10
"""Bytes of progress after which attempts are counted from one again."""
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
LONGEST_RETRY_AFTER = 120.0
"""Seconds; a longer ``Retry-After`` is cut to this."""


class TransientError(StoreError):
    """A failure that a retry may cure; ``retry_after`` is in seconds, as the registry requested."""

    retry_after: float | None = None


def attempts(limits: Limits, report: Callable[[str], None], position: Callable[[], int] = lambda: 0) -> Retrying:
    """Retry on `TransientError`, with bounded exponential waits and jitter; each wait is reported.

    ``position`` returns the transferred bytes. After an attempt with `LEAST_PROGRESS` the count of attempts starts again.
    """
    reached = position()

    def reset_on_progress(state: RetryCallState) -> None:
        nonlocal reached
        if (now := position()) >= reached + LEAST_PROGRESS:
            reached, state.attempt_number = now, 1

    backoff = wait_exponential_jitter(multiplier=FIRST_WAIT, max=LONGEST_WAIT, jitter=FIRST_WAIT)

    def wait(state: RetryCallState) -> float:
        error = _error(state)
        requested = error.retry_after if isinstance(error, TransientError) else None
        return limits.patience * (backoff(state) if requested is None else min(requested, LONGEST_RETRY_AFTER))

    def report_wait(state: RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action else 0.0
        report(f"{_error(state)}; attempt {state.attempt_number + 1} of {ATTEMPTS} in {seconds:.1f} s")

    return Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(ATTEMPTS),
        after=reset_on_progress,
        wait=wait,
        before_sleep=report_wait,
        reraise=True,
    )


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
