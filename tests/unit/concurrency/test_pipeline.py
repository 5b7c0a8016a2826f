"""Reading ahead: what comes, in which order, how far, and what becomes of a failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from bundler.concurrency.pipeline import ahead, mapped


def test_items_come_in_order_and_none_is_lost() -> None:
    with ahead(iter(range(100)), 3) as items:
        assert list(items) == list(range(100))
    with mapped(lambda number: number * 2, iter(range(100))) as results:
        assert list(results) == [number * 2 for number in range(100)]


def test_so_many_are_read_ahead_and_no_more() -> None:
    read: list[int] = []
    came = threading.Semaphore(0)

    def source() -> Iterator[int]:
        for number in range(10):
            read.append(number)
            came.release()
            yield number

    with ahead(source(), 2) as items:
        for expected in range(3):
            assert came.acquire(timeout=30)
            if expected:
                assert next(items) == expected - 1
        assert came.acquire(timeout=30)
        assert not came.acquire(timeout=0.1)
        assert read == [0, 1, 2, 3]


def test_nothing_is_read_after_the_block() -> None:
    read: list[int] = []

    def source() -> Iterator[int]:
        for number in range(10):
            read.append(number)
            yield number

    with ahead(source()) as items:
        assert next(items) == 0
    before = len(read)
    assert before <= 3
    assert not threading.Event().wait(0.05)
    assert len(read) == before


@pytest.mark.parametrize("error", [OSError("broken"), KeyboardInterrupt()])
def test_a_failure_comes_where_its_item_would_have_come(error: BaseException) -> None:
    def source() -> Iterator[int]:
        yield 1
        raise error

    with ahead(source(), 5) as items:
        assert next(items) == 1
        with pytest.raises(type(error)):
            next(items)

    def work(number: int) -> int:
        if number == 2:
            raise error
        return number

    with mapped(work, iter([1, 2, 3])) as results:
        assert next(results) == 1
        with pytest.raises(type(error)):
            next(results)
