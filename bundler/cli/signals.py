"""What SIGINT, SIGTERM and SIGHUP do: end a command after its cleanup, or the program at once when no command runs."""

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
"""The number of the signal that interrupts the command; 0 before one came."""


class InterruptedRun(KeyboardInterrupt):
    """A signal ends the command.

    ``python -m`` ends itself by SIGINT, whatever the exit code, when a KeyboardInterrupt was raised in the ``exec`` of a text, as
    dataclasses do while modules are loaded; of a subclass it takes no notice (``run_eval_code_obj`` of CPython).
    """


def listen() -> None:
    """Handle the signals from now on, but not those that the caller has set to be ignored, as nohup(1) does with SIGHUP."""
    sys.unraisablehook = lambda lost: deliver_again(lost) or sys.__unraisablehook__(lost)
    for number in _HANDLED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _handle)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` in the block when a signal comes."""
    global _interruptible
    _interruptible = True
    try:
        yield
    finally:
        _interruptible = False


def exit_code() -> int:
    """The exit code of a command that was interrupted: 128 and the number of the signal."""
    return 128 + (_received or signal.SIGINT)


def _handle(number: int, frame: FrameType | None) -> None:
    """Of several signals the first counts, as a terminal that is closed sends two; another Ctrl-C interrupts the cleanup, too."""
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
    """Repeat a signal whose exception was raised in a destructor or a callback, where Python drops it; say whether it was one."""
    if not isinstance(lost.exc_value, KeyboardInterrupt):
        return False
    import threading

    global _received
    number, _received = _received or signal.SIGINT, 0
    threading.Timer(0.05, signal.pthread_kill, [threading.main_thread().ident, number]).start()
    return True
