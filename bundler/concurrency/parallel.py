"""Run the same work for several items in parallel."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

from bundler.errors import StoreError

_Item = TypeVar("_Item")

_JOIN_TIMEOUT = 2.0
"""Seconds to wait for workers to clean up after a failure or an interrupt."""


def each(work: Callable[[_Item], None], items: Iterable[_Item], workers: int, stop: threading.Event) -> None:
    """Do the work for every item in up to ``workers`` threads; raises the first exception of the work.

    ``stop`` is set when a thread fails or the user interrupts; the work should end early when it is set. Threads that
    wait for the network continue as daemons. Raises `StoreError` when another part of the program has set it.
    """
    todo: queue.SimpleQueue[_Item] = queue.SimpleQueue()
    for item in items:
        todo.put(item)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with suppress(queue.Empty):
                while not stop.is_set():
                    work(todo.get_nowait())
        except BaseException as error:
            failures.append(error)
            stop.set()

    if workers < 2 or todo.qsize() < 2:
        run()
    else:
        _wait_for([threading.Thread(target=run, daemon=True) for _ in range(min(workers, todo.qsize()))], stop)
    if failures:
        raise failures[0]
    if not todo.empty():
        raise StoreError("stopped, because another part of the transfer failed")


def _wait_for(threads: Sequence[threading.Thread], stop: threading.Event) -> None:
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive() and not stop.is_set():
                thread.join(0.05)
    except BaseException:
        stop.set()
        raise
    finally:
        for thread in threads:
            thread.join(_JOIN_TIMEOUT / len(threads))
