"""Work that all cores share, and whose results come in order."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Generic, Self, TypeVar

WORKERS = min(os.cpu_count() or 1, 4)
"""Threads that compress or decompress; more would not be kept busy by the one that reads, and each takes memory."""
_FAREWELL = 2.0
"""Seconds for which a thread that reads ahead may end what it does."""

_Given = TypeVar("_Given")
_Result = TypeVar("_Result")


class Pipeline:
    """Does work by many threads, and hands each result over by one, in the order in which the work came.

    As much is under way at once as keeps all threads busy; who brings more waits.
    """

    def __init__(self, workers: int = WORKERS) -> None:
        self._workers = ThreadPoolExecutor(workers, "work")
        self._aside = ThreadPoolExecutor(1, "aside")
        self._hand_over = ThreadPoolExecutor(1, "hand-over")
        self._later = ThreadPoolExecutor(1, "later")
        self._room = threading.BoundedSemaphore(workers + 2)
        self._failure: BaseException | None = None

    def run(self, aside: Callable[[], None], work: Callable[[], _Result], then: Callable[[_Result], None]) -> Future[None]:
        """Do ``work`` on any core, ``aside`` after all that were brought before, and, when both are done, ``then``.

        Raises what any of them raised before.
        """
        self._room.acquire()
        try:
            self._check()
        except BaseException:
            self._room.release()
            raise
        beside, result = self._aside.submit(aside), self._workers.submit(work)
        return self._hand_over.submit(self._finish, beside, result, then)

    def later(self, work: Callable[[], _Result]) -> Future[_Result]:
        """Do ``work`` when all that was brought so far has been handed over, beside what comes after."""
        return self._later.submit(self._after, self._hand_over.submit(self._check), work)

    def _after(self, before: Future[None], work: Callable[[], _Result]) -> _Result:
        before.result()
        return work()

    def _check(self) -> None:
        if self._failure:
            raise self._failure

    def _finish(self, beside: Future[None], result: Future[_Result], then: Callable[[_Result], None]) -> None:
        try:
            if not self._failure:
                beside.result()
                then(result.result())
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._room.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for pool in (self._aside, self._workers, self._hand_over, self._later):
            pool.shutdown(wait=True, cancel_futures=error is not None)


@contextmanager
def mapped(work: Callable[[_Given], _Result], source: Iterable[_Given], workers: int = WORKERS) -> Iterator[Iterator[_Result]]:
    """The results of ``work`` for each item, in order; items are read and worked on ahead of who takes the results.

    What reading or working raises is raised where its result would have come. When the block ends, nothing reads on.
    """
    with ThreadPoolExecutor(workers, "work") as pool:
        ahead = _Ahead(source, lambda item: pool.submit(work, item), workers + 1)
        try:
            yield ahead.results()
        finally:
            ahead.stop()
            pool.shutdown(wait=False, cancel_futures=True)


class _Ahead(Generic[_Given, _Result]):
    """A thread that reads items and has them worked on, until so many results wait to be taken."""

    def __init__(self, source: Iterable[_Given], submit: Callable[[_Given], Future[_Result]], most: int) -> None:
        self._source = source
        self._submit = submit
        self._waiting: queue.Queue[Future[_Result] | None] = queue.Queue(most)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def results(self) -> Iterator[_Result]:
        while found := self._waiting.get():
            yield found.result()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(_FAREWELL)

    def _read(self) -> None:
        try:
            for item in self._source:
                self._put(self._submit(item))
                if self._stopped.is_set():
                    return
        except BaseException as error:
            failed: Future[_Result] = Future()
            failed.set_exception(error)
            self._put(failed)
        self._put(None)

    def _put(self, item: Future[_Result] | None) -> None:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self._waiting.put(item, timeout=0.1)
                break
