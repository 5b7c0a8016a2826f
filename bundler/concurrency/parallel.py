"""Several pieces of the same work at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

from bundler.errors import StoreError

_Item = TypeVar("_Item")

_JOIN_TIMEOUT = 2.0
"""Seconds for which workers may tidy up when the work has failed or was interrupted."""


def each(work: Callable[[_Item], None], items: Iterable[_Item], workers: int, stop: threading.Event) -> None:
    """Do the work for every item, by so many threads; raises what the first of them raised.

    ``stop`` is set when one has failed or the user interrupts, so that the others stop. Those that
    cannot, because the network holds them, are left behind as daemons. Raises `StoreError` when the caller has set it.
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
        raise StoreError("the work was given up, because another part of it failed")


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
