"""HTTP client for long answers of an engine, over its Unix socket.

The request is HTTP/1.0, so that the body comes without chunks (RFC 9112, section 7.1): chunking is half of the engine's work.
Only the content itself then shows that a body is complete, as the end of a tar archive does. The engine sends a hundred
thousand small blocks; the kernel joins them (recv(2), ``MSG_WAITALL``).
"""

from __future__ import annotations

import io
import math
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import Any

from bundler.engines import transport
from bundler.errors import EngineError
from bundler.streams import BLOCK, Readable

_MAX_REFUSAL = 64 << 10


@contextmanager
def get(path: str, target: str, timeout: float, silence: float) -> Iterator[tuple[int, Readable]]:
    """GET ``target`` from the engine that listens at ``path``; gives the status and the body.

    Connecting takes at most ``timeout`` seconds, and each wait afterwards at most ``silence``. Raises `OSError`, and
    `EngineError` for an answer that is not HTTP.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.settimeout(silence)
        connection.sendall(f"GET {target} HTTP/1.0\r\nHost: localhost\r\nAccept-Encoding: identity\r\n\r\n".encode())
        try:
            with transport.limited() as deadline:
                deadline.begin(connection, silence)
                answer = HTTPResponse(connection, method="GET")
                answer.begin()
                refusal = answer.read(_MAX_REFUSAL) if answer.status != 200 else b""
        except HTTPException as error:
            raise EngineError(f"no HTTP server at {path}: {str(error)[:200] or repr(error)}") from error
        with answer:
            if answer.status != 200:
                yield answer.status, io.BytesIO(refusal)
            elif answer.chunked or answer.length is not None:
                yield answer.status, _Paced(answer, silence)  # from a proxy that ignores HTTP/1.0
            else:
                yield answer.status, io.BufferedReader(_Body(connection, answer.fp.peek(), silence), BLOCK)


class _Body(io.RawIOBase):
    """The body on a connection, after the bytes that were received with the header."""

    def __init__(self, connection: socket.socket, ahead: bytes, silence: float) -> None:
        # With a timeout of Python's own a socket is non-blocking, and MSG_WAITALL has no effect.
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", math.ceil(silence), 0))
        self._connection = connection
        self._ahead = ahead
        self._pace = transport.Pace(silence)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._ahead:
            with self._pace.waiting():
                size = self._connection.recv_into(buffer, 0, socket.MSG_WAITALL)
            self._pace.received(size)
            return size
        data, self._ahead = self._ahead[: len(buffer)], self._ahead[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


class _Paced:
    """A body that `http.client` reads; raises ``TimeoutError`` when it is too slow."""

    def __init__(self, answer: HTTPResponse, silence: float) -> None:
        self._answer = answer
        self._pace = transport.Pace(silence)

    def read(self, size: int = -1, /) -> bytes:
        with self._pace.waiting():
            data = self._answer.read1(size)
        self._pace.received(len(data))
        return data
