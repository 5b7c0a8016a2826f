"""An engine's socket, before which a client dies at one of its requests, as if it was killed just then."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def guarded(engine: str, path: Path, fatal: bytes) -> Iterator[str]:
    """The address of a socket like the engine's; whoever sends ``fatal`` is killed, and the engine does not get it."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        threading.Thread(target=_serve, args=(server, engine.removeprefix("unix://"), fatal), daemon=True).start()
        yield f"unix://{path}"
        server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket, engine: str, fatal: bytes) -> None:
    with suppress(OSError):
        while True:
            client, _ = server.accept()
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(engine)
            threading.Thread(target=_forward, args=(client, upstream, fatal), daemon=True).start()
            threading.Thread(target=_forward, args=(upstream, client, None), daemon=True).start()


def _forward(source: socket.socket, target: socket.socket, fatal: bytes | None) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            if fatal and fatal in data:
                credentials = source.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
                os.kill(struct.unpack("3i", credentials)[0], signal.SIGKILL)
                break
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
