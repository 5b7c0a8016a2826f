"""HTTP adapters for an engine with one deadline for each whole answer.

A socket's timeout counts from byte to byte, so one byte a second would hold a request for ever. Connections of these adapters
begin a `Deadline` after the request was sent. When it passes, the socket is shut down, which ends any wait for it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

SLOWEST = 1 << 10
"""Bytes per second below which a stream counts as silent."""


class Deadline:
    """Shuts a socket down some seconds after `begin`, unless it was cancelled before."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None
        self.passed = False

    def begin(self, connection: socket.socket, seconds: float) -> None:
        self.cancel()
        self._timer = threading.Timer(seconds, self._end, [connection])
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _end(self, connection: socket.socket) -> None:
        self.passed = True
        with suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # without TLS's own shutdown, which would wait for the peer


_CURRENT: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def limited() -> Iterator[Deadline]:
    """Set a deadline for the answer that the block waits for; raises ``TimeoutError`` when it has passed."""
    deadline = Deadline()
    token = _CURRENT.set(deadline)
    try:
        yield deadline
    except Exception as error:
        if deadline.passed:
            raise TimeoutError("the answer did not end in time") from error
        raise
    finally:
        _CURRENT.reset(token)
        deadline.cancel()
    if deadline.passed:
        raise TimeoutError("the answer did not end in time")


class Pace:
    """Raises ``TimeoutError`` when a stream is too slow; only time spent waiting for it counts."""

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._waited = 0.0
        self._received = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        if self._waited >= self._silence:
            if self._received < self._waited * SLOWEST:
                raise TimeoutError("the stream is too slow")
            self._waited, self._received = 0.0, 0
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    def received(self, size: int) -> None:
        self._received += size


def adapter(given: BaseAdapter) -> BaseAdapter:
    """Return an adapter like the given one, with deadlines."""
    if isinstance(given, UnixHTTPAdapter):
        return _UnixAdapter(f"http+unix://{given.socket_path}", given.timeout, max_pool_size=given.max_pool_size)
    return _TCPAdapter() if type(given) is HTTPAdapter else given


def _begin(connection: Any) -> None:
    if deadline := _CURRENT.get():
        deadline.begin(connection.sock, connection.timeout)


class _Connection(HTTPConnection):
    def getresponse(self) -> Any:
        _begin(self)
        return super().getresponse()


class _TLSConnection(HTTPSConnection):
    def getresponse(self) -> Any:
        _begin(self)
        return super().getresponse()


class _UnixConnection(UnixHTTPConnection):
    def getresponse(self) -> Any:
        _begin(self)
        return super().getresponse()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class _UnixPool(UnixHTTPConnectionPool):
    def _new_conn(self) -> Any:
        return _UnixConnection(self.base_url, self.socket_path, self.timeout)  # type: ignore[arg-type]


class _UnixAdapter(UnixHTTPAdapter):
    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        del proxies
        with self.pools.lock:
            if not (pool := self.pools.get(url)):
                pool = self.pools[url] = _UnixPool(url, self.socket_path, self.timeout, maxsize=self.max_pool_size)
        return pool


class _TCPAdapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        _limit(self.poolmanager)

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        return _limit(super().proxy_manager_for(proxy, **options))


def _limit(manager: PoolManager) -> PoolManager:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
    return manager
