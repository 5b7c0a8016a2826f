"""Parallel work whose results are delivered in order."""

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
"""Threads that compress or decompress; one reader cannot keep more busy, and each takes memory."""
_JOIN_TIMEOUT = 2.0
"""Seconds to wait for a thread that reads ahead to end."""

_Input = TypeVar("_Input")
_Result = TypeVar("_Result")


class Pipeline:
    """Do work in many threads, and deliver each result in one thread, in the order of submission.

    `run` blocks while enough work is pending to keep all threads busy.
    """

    def __init__(self, workers: int = WORKERS) -> None:
        self._workers = ThreadPoolExecutor(workers, "work")
        self._ordered = ThreadPoolExecutor(1, "ordered")
        self._delivery = ThreadPoolExecutor(1, "delivery")
        self._after_delivery = ThreadPoolExecutor(1, "after-delivery")
        self._room = threading.BoundedSemaphore(workers + 2)
        self._failure: BaseException | None = None

    def run(
        self, ordered_work: Callable[[], None], work: Callable[[], _Result], deliver: Callable[[_Result], None]
    ) -> Future[None]:
        """Do ``work`` in any thread, ``ordered_work`` in order of submission, and ``deliver`` when both are done.

        Raises what any earlier work raised.
        """
        self._room.acquire()
        try:
            self.check()
        except BaseException:
            self._room.release()
            raise
        ordered, result = self._ordered.submit(ordered_work), self._workers.submit(work)
        return self._delivery.submit(self._finish, ordered, result, deliver)

    def after_delivery(self, work: Callable[[], _Result]) -> Future[_Result]:
        """Do ``work`` after all earlier results are delivered, in parallel to later ones."""
        return self._after_delivery.submit(self._after, self._delivery.submit(self.check), work)

    def _after(self, before: Future[None], work: Callable[[], _Result]) -> _Result:
        before.result()
        return work()

    def check(self) -> None:
        """Raise what any earlier work raised, or what ended the block; long work calls this regularly."""
        if self._failure:
            raise self._failure

    def _finish(self, ordered: Future[None], result: Future[_Result], deliver: Callable[[_Result], None]) -> None:
        try:
            if not self._failure:
                ordered.result()
                deliver(result.result())
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
        for pool in (self._ordered, self._workers, self._delivery, self._after_delivery):
            pool.shutdown(wait=True, cancel_futures=error is not None)


@contextmanager
def mapped(work: Callable[[_Input], _Result], source: Iterable[_Input], workers: int = WORKERS) -> Iterator[Iterator[_Result]]:
    """The results of ``work`` for each item, in order; items are read and processed ahead of the consumer.

    An exception of reading or working is raised in place of the result. When the block ends, reading stops.
    """
    with ThreadPoolExecutor(workers, "work") as pool:
        try:
            with ahead((pool.submit(work, item) for item in source), workers + 2) as results:
                yield (result.result() for result in results)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def ahead(source: Iterable[_Input], most: int = 1) -> Iterator[Iterator[_Input]]:
    """The items of ``source``, of which a thread reads up to ``most`` ahead of the consumer, and none after the block.

    An exception of reading is raised in place of the item.
    """
    reading = _Ahead(source, most)
    try:
        yield reading.items()
    finally:
        reading.stop()


class _Ahead(Generic[_Input]):
    """The thread that reads; a daemon, because the source may never answer."""

    def __init__(self, source: Iterable[_Input], most: int) -> None:
        self._source = source
        self._room = threading.Semaphore(most)
        self._read: queue.SimpleQueue[tuple[_Input] | BaseException | None] = queue.SimpleQueue()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def items(self) -> Iterator[_Input]:
        while result := self._read.get():
            if isinstance(result, BaseException):
                raise result
            self._room.release()
            yield result[0]

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
