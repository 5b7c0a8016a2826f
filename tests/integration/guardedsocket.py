"""Sockets like an engine's: one kills a client at one of its requests, another leaves one request without an answer."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

Act = Callable[[socket.socket], object]
"""What becomes of a client whose request is not forwarded."""


def guarded(engine: str, path: Path, fatal: bytes) -> AbstractContextManager[str]:
    """The address of a socket like the engine's; a client that sends ``fatal`` is killed, and the engine does not get it."""
    return _between(engine, path, fatal, _kill)


def silenced(engine: str, path: Path, request: bytes) -> AbstractContextManager[str]:
    """The address of a socket like the engine's, on which ``request`` gets no answer."""
    return _between(engine, path, request, lambda _: threading.Event().wait())


@contextmanager
def _between(engine: str, path: Path, request: bytes, act: Act) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        threading.Thread(target=_serve, args=(server, engine.removeprefix("unix://"), request, act), daemon=True).start()
        yield f"unix://{path}"
        server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket, engine: str, request: bytes, act: Act) -> None:
    with suppress(OSError):
        while True:
            client, _ = server.accept()
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(engine)
            threading.Thread(target=_forward, args=(client, upstream, request, act), daemon=True).start()
            threading.Thread(target=_forward, args=(upstream, client, None, act), daemon=True).start()


def _forward(source: socket.socket, target: socket.socket, request: bytes | None, act: Act) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            if request and request in data:
                act(source)
                break
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _kill(client: socket.socket) -> None:
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    os.kill(struct.unpack("3i", credentials)[0], signal.SIGKILL)
