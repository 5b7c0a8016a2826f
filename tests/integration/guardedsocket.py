"""Sockets like an engine's: one kills a client at one of its requests, others leave one without an answer, or in the middle."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

Act = Callable[[socket.socket, bytes], bool]
"""Looks at what a client sends; False when it is not to be forwarded."""


@dataclass
class Silence:
    """A request that gets no answer, until `end` is called."""

    address: str
    ended: threading.Event = field(default_factory=threading.Event)

    def end(self) -> None:
        """Let the engine answer all later requests."""
        self.ended.set()


@contextmanager
def silenced(engine: str, path: Path, request: bytes) -> Iterator[Silence]:
    """A socket like the engine's, on which ``request`` gets no answer."""
    silence = Silence(f"unix://{path}")

    def act(client: socket.socket, data: bytes) -> bool:
        del client
        if request in data and not silence.ended.is_set():
            threading.Event().wait()
        return True

    with _between(engine, path, act):
        yield silence


@dataclass
class Hold:
    """A request that the engine has begun to serve, and nothing more of it until `end` is called."""

    address: str
    begun: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def end(self) -> None:
        """Let all pass from now on."""
        self.ended.set()


@contextmanager
def held(engine: str, path: Path, request: bytes) -> Iterator[Hold]:
    """A socket like the engine's, which passes ``request`` on; then nothing more in either direction before `Hold.end`."""
    hold = Hold(f"unix://{path}")

    def forward(_: socket.socket, data: bytes) -> bool:
        if hold.begun.is_set():
            hold.ended.wait()
        elif request in data:
            hold.begun.set()
        return True

    def give_back(*_: object) -> bool:
        if hold.begun.is_set():
            hold.ended.wait()
        return True

    with _between(engine, path, forward, give_back):
        try:
            yield hold
        finally:
            hold.end()


def guarded(engine: str, path: Path, fatal: bytes) -> AbstractContextManager[str]:
    """The address of a socket like the engine's; a client that sends ``fatal`` is killed, and the engine does not get it."""

    def act(client: socket.socket, data: bytes) -> bool:
        if fatal not in data:
            return True
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        os.kill(struct.unpack("3i", credentials)[0], signal.SIGKILL)
        return False

    return _between(engine, path, act)


@contextmanager
def _between(engine: str, path: Path, act: Act, answer: Act = lambda *_: True) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        threading.Thread(target=_serve, args=(server, engine.removeprefix("unix://"), act, answer), daemon=True).start()
        yield f"unix://{path}"
        server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket, engine: str, act: Act, answer: Act) -> None:
    with suppress(OSError):
        while True:
            client, _ = server.accept()
            upstream = socket.socket(socket.AF_UNIX)
            try:
                upstream.connect(engine)
            except OSError:  # the engine is stopped
                client.close()
                continue
            threading.Thread(target=_forward, args=(client, upstream, act), daemon=True).start()
            threading.Thread(target=_forward, args=(upstream, client, answer), daemon=True).start()


def _forward(source: socket.socket, target: socket.socket, act: Act) -> None:
    with suppress(OSError):
        try:
            while (data := source.recv(1 << 16)) and act(source, data):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            source.shutdown(socket.SHUT_RDWR)
            raise
