"""A long answer of an engine, over its Unix socket.

It is asked for as HTTP/1.0, so that the body comes as it is and not in chunks (RFC 9112, section 7.1): that is half of the
engine's work. Nothing but the content itself tells then whether a body is whole; a tar archive that has its end is. And what
the engine sends in a hundred thousand small pieces is put together by the kernel (recv(2), ``MSG_WAITALL``).
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

_LONGEST_REFUSAL = 64 << 10


@contextmanager
def get(path: str, target: str, timeout: float, silence: float) -> Iterator[tuple[int, Readable]]:
    """The status and the body of the answer to a GET for ``target`` by the engine that listens at ``path``.

    Connecting takes no longer than ``timeout`` seconds, and nothing that comes afterwards longer than ``silence``. Raises
    `OSError`, and `EngineError` for an answer that is no HTTP.
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
                refusal = answer.read(_LONGEST_REFUSAL) if answer.status != 200 else b""
        except HTTPException as error:
            raise EngineError(f"what answers at {path} is no engine: {str(error)[:200] or repr(error)}") from error
        with answer:
            if answer.status != 200:
                yield answer.status, io.BytesIO(refusal)
            elif answer.chunked or answer.length is not None:
                yield answer.status, _Paced(answer, silence)  # a proxy on the way to the engine knows no HTTP/1.0
            else:
                yield answer.status, io.BufferedReader(_Body(connection, answer.fp.peek(), silence), BLOCK)


class _Body(io.RawIOBase):
    """What comes over a connection, after the bytes that came with the answer's head."""

    def __init__(self, connection: socket.socket, ahead: bytes, silence: float) -> None:
        # Python's own timeouts make a socket one that never waits, not for all of a buffer either.
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
            self._pace.came(size)
            return size
        found, self._ahead = self._ahead[: len(buffer)], self._ahead[len(buffer) :]
        buffer[: len(found)] = found
        return len(found)


class _Paced:
    """A body that `http.client` reads; it is not waited for when next to nothing comes."""

    def __init__(self, answer: HTTPResponse, silence: float) -> None:
        self._answer = answer
        self._pace = transport.Pace(silence)

    def read(self, size: int = -1, /) -> bytes:
        with self._pace.waiting():
            data = self._answer.read1(size)
        self._pace.came(len(data))
        return data
