"""Handle SIGINT, SIGTERM and SIGHUP: end a command after its cleanup, or the program at once when no command runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_interruptible = False
_received = 0
"""The number of the signal that interrupted the command; 0 before a signal."""


class InterruptedRun(KeyboardInterrupt):
    """A signal ends the command.

    A subclass, because of ``run_eval_code_obj`` of CPython: it notes every plain KeyboardInterrupt in an ``exec`` of source
    text, which dataclasses use at import. ``python -m`` then kills itself by SIGINT, whatever the exit code.
    """


def listen() -> None:
    """Install the handlers. A signal that the parent process ignores stays ignored, such as SIGHUP under nohup(1)."""
    sys.unraisablehook = lambda lost: deliver_again(lost) or sys.__unraisablehook__(lost)
    for number in _HANDLED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _handle)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` in the block when a signal arrives."""
    global _interruptible
    _interruptible = True
    try:
        yield
    finally:
        _interruptible = False


def exit_code() -> int:
    """Return the exit code of an interrupted command: 128 and the number of the signal."""
    return 128 + (_received or signal.SIGINT)


def _handle(number: int, frame: FrameType | None) -> None:
    """Act on the first signal only, as a closed terminal sends two. A further SIGINT interrupts the cleanup, too."""
    del frame
    global _received
    if _received and number != signal.SIGINT:
        return
    _received = _received or number
    if _interruptible:
        raise InterruptedRun
    with suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(exit_code())


def deliver_again(lost: sys.UnraisableHookArgs) -> bool:
    """Send a signal again if Python dropped its exception in a destructor or callback; return whether it was a signal."""
    if not isinstance(lost.exc_value, KeyboardInterrupt):
        return False
    import threading

    global _received
    number, _received = _received or signal.SIGINT, 0
    threading.Timer(0.05, signal.pthread_kill, [threading.main_thread().ident, number]).start()
    return True
