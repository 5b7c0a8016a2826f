"""A proxy between the tool and a registry, in a thread of the tests, that fails requests as it is told to.

``Host`` goes on unchanged, so the addresses that a registry makes of it lead through the proxy again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import httpwire
from exchange import Connection, Cut, Exchange, Fault, Record, Traffic


@dataclass
class _Rule:
    wanted: Callable[[int, Record], bool]
    fault: Fault
    skip: int
    left: int


class FaultProxy:
    """What the proxy has seen, and what it shall do; requests are numbered from 0."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.address = ""
        self.records: list[Record] = []
        self.traffic = Traffic()
        self._rules: list[_Rule] = []
        self._cut: Cut | None = None
        self._cuts_left: int | None = None

    def fail(self, fault: Fault, *, since: int = 0, method: str = "", part: str = "", skip: int = 0, times: int = 1) -> None:
        """Let a fault happen so many ``times``: to requests of a method, with ``part`` in their path.

        Those before request number ``since`` and ``skip`` more that fit are left out.
        """

        def wanted(number: int, record: Record) -> bool:
            return number >= since and method in ("", record.method) and part in record.path

        self._rules.append(_Rule(wanted, fault, skip, times))

    def cut(self, after: int, *, up: bool = True, down: bool = True, times: int | None = None) -> None:
        """Reset the next ``times`` connections, or all, when so many bytes have gone ``up`` to the registry, ``down``, or both."""
        self._cut, self._cuts_left = Cut(after, up, down), times

    def forget(self) -> None:
        """Begin anew: no rules, nothing seen."""
        self.records, self.traffic = [], Traffic()
        self._rules = []
        self._cut = None

    @property
    def injected(self) -> int:
        """How many faults have really happened."""
        return self.traffic.cuts + sum(bool(record.fault) for record in self.records)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.traffic.connections += 1
        client = Connection(reader, writer, self.traffic, self._next_cut())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while client.stays and (head := await httpwire.read_head(client)):
                record = Record(head.method, head.path, list(head.fields))
                self.records.append(record)
                await self._exchange(Exchange(head, record, client, self.upstream))
        writer.close()

    async def _exchange(self, exchange: Exchange) -> None:
        fault = self._fault(exchange.record)
        exchange.record.fault = fault.name if fault else ""
        try:
            await (fault.act(exchange) if fault else exchange.pass_on())
        finally:
            await exchange.close()

    def _fault(self, record: Record) -> Fault | None:
        number = len(self.records) - 1
        for rule in self._rules:
            if not rule.left or not rule.wanted(number, record):
                continue
            if not rule.skip:
                rule.left -= 1
                return rule.fault
            rule.skip -= 1
        return None

    def _next_cut(self) -> Cut | None:
        if self._cut is None or self._cuts_left == 0:
            return None
        if self._cuts_left:
            self._cuts_left -= 1
        return self._cut

    async def run(self, ready: Callable[[Callable[[], object]], None]) -> None:
        """Serve until what ``ready`` is given is called, from any thread."""
        done = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = "{}:{}".format(*server.sockets[0].getsockname())
        ready(partial(asyncio.get_running_loop().call_soon_threadsafe, done.set))
        async with server:
            await done.wait()
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy before ``HOST:PORT`` for the length of the block."""
    proxy = FaultProxy(upstream)
    ready = threading.Event()
    stops: list[Callable[[], object]] = []

    def is_ready(stop: Callable[[], object]) -> None:
        stops.append(stop)
        ready.set()

    thread = threading.Thread(target=lambda: asyncio.run(proxy.run(is_ready)))
    thread.start()
    assert ready.wait(30)
    try:
        yield proxy
    finally:
        stops[0]()
        thread.join()
