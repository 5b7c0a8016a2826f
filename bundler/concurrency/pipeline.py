"""Work that all cores share, and whose results come in order."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Generic, Self, TypeVar

WORKERS = min(os.cpu_count() or 1, 4)
"""Threads that compress or decompress; more would not be kept busy by the one that reads, and each takes memory."""
_JOIN_TIMEOUT = 2.0
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
            self.check()
        except BaseException:
            self._room.release()
            raise
        beside, result = self._aside.submit(aside), self._workers.submit(work)
        return self._hand_over.submit(self._finish, beside, result, then)

    def later(self, work: Callable[[], _Result]) -> Future[_Result]:
        """Do ``work`` when all that was brought so far has been handed over, beside what comes after."""
        return self._later.submit(self._after, self._hand_over.submit(self.check), work)

    def _after(self, before: Future[None], work: Callable[[], _Result]) -> _Result:
        before.result()
        return work()

    def check(self) -> None:
        """Raise what any work raised before, or what ended the block; long work calls it now and then."""
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
        if error and not self._failure:
            self._failure = error
        for pool in (self._aside, self._workers, self._hand_over, self._later):
            pool.shutdown(wait=True, cancel_futures=error is not None)


@contextmanager
def mapped(work: Callable[[_Given], _Result], source: Iterable[_Given], workers: int = WORKERS) -> Iterator[Iterator[_Result]]:
    """The results of ``work`` for each item, in order; items are read and worked on ahead of who takes the results.

    What reading or working raises is raised where its result would have come. When the block ends, nothing reads on.
    """
    with ThreadPoolExecutor(workers, "work") as pool:
        try:
            with ahead((pool.submit(work, item) for item in source), workers + 2) as results:
                yield (result.result() for result in results)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def ahead(source: Iterable[_Given], most: int = 1) -> Iterator[Iterator[_Given]]:
    """The items of ``source``, of which a thread reads so many ahead of who takes them, and none after the block.

    What reading raises is raised where its item would have come.
    """
    reading = _Ahead(source, most)
    try:
        yield reading.items()
    finally:
        reading.stop()


class _Ahead(Generic[_Given]):
    """The thread that reads; a daemon, as what it reads from may never answer."""

    def __init__(self, source: Iterable[_Given], most: int) -> None:
        self._source = source
        self._room = threading.Semaphore(most)
        self._read: queue.SimpleQueue[tuple[_Given] | BaseException | None] = queue.SimpleQueue()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def items(self) -> Iterator[_Given]:
        while found := self._read.get():
            if isinstance(found, BaseException):
                raise found
            self._room.release()
            yield found[0]

    def stop(self) -> None:
        self._is_stopped = True
        self._room.release()
        self._thread.join(_JOIN_TIMEOUT)

    def _run(self) -> None:
        try:
            items = iter(self._source)
            while self._room.acquire() and not self._is_stopped:
                self._read.put((next(items),))
        except StopIteration:
            self._read.put(None)
        except BaseException as error:
            self._read.put(error)
