"""One request on its way through the fault proxy, and the connection that it came by."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import NoReturn

import httpwire
from httpwire import Head

LINGER = 1.0
"""Seconds for which a client may go on sending a request that was answered early."""


@dataclass(frozen=True)
class Fault:
    """What becomes of one request instead of being passed on."""

    name: str
    act: Callable[[Exchange], Awaitable[None]]

    def __str__(self) -> str:
        return self.name


@dataclass
class Record:
    """One request that came; ``status`` is what the client was told, ``fault`` what really happened to it."""

    method: str
    path: str
    fields: list[tuple[str, str]]
    status: int | None = None
    fault: str = ""


@dataclass
class Traffic:
    """Bytes that came ``up`` from clients and went ``down`` to them, over how many connections, of which how many were cut."""

    up: int = 0
    down: int = 0
    connections: int = 0
    cuts: int = 0


@dataclass(frozen=True)
class Cut:
    """Reset a connection after so many bytes, of those that go up, down, or either way."""

    after: int
    up: bool
    down: bool


class Connection:
    """A client's connection: counts what passes, and is reset where it shall be cut."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, traffic: Traffic, cut: Cut | None) -> None:
        self._reader = reader
        self._writer = writer
        self._traffic = traffic
        self._cut = cut
        self._left = cut.after if cut else 0
        self.stays = True
        writer.transport.set_write_buffer_limits(high=0)  # what was written has left us when `drain` is done
        # A reset throws away what lies in the buffer, which counts as sent; so there is little.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 << 10)

    async def read(self, size: int) -> bytes:
        is_cut = self._cut is not None and self._cut.up
        if is_cut and self._left <= 0:
            self._traffic.cuts += 1
            self.reset()
        return self._came(await self._reader.read(min(size, self._left) if is_cut else size))

    async def readuntil(self, end: bytes) -> bytes:
        return self._came(await self._reader.readuntil(end))

    async def readexactly(self, size: int) -> bytes:
        return self._came(await self._reader.readexactly(size))

    def _came(self, data: bytes) -> bytes:
        self._traffic.up += len(data)
        if self._cut and self._cut.up:
            self._left -= len(data)
        return data

    async def write(self, data: bytes) -> None:
        is_cut = self._cut is not None and self._cut.down
        passed = data[: max(self._left, 0)] if is_cut else data
        self._traffic.down += len(passed)  # before the client can have it, and count it
        self._writer.write(passed)
        await self._writer.drain()
        if is_cut:
            self._left -= len(passed)
            if self._left <= 0:
                self._traffic.cuts += 1
                await self.arrived()
                self.reset()

    async def arrived(self) -> None:
        """Wait until the other end has all that was written, as a reset takes back what is still on its way."""
        connection = self._writer.get_extra_info("socket")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))[0]:
                    await asyncio.sleep(0.001)

    def reset(self) -> NoReturn:
        """End the connection by RST, as a link does that breaks."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        raise ConnectionResetError("cut by the proxy")

    async def gone(self, seconds: float) -> None:
        """Wait until the client has given up, but no longer than that."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(seconds):
                while await self._reader.read(httpwire.BLOCK):
                    pass

    async def finish(self) -> None:
        """Say that nothing more comes, and give the client time to read what did."""
        self.stays = False
        self._writer.write_eof()
        await self.gone(LINGER)


@dataclass
class Answer:
    """What the registry says to one request."""

    head: Head
    body: AsyncIterator[bytes]

    async def read(self) -> bytes:
        return b"".join([block async for block in self.body])


@dataclass
class Exchange:
    """One request, and what is made of it."""

    request: Head
    record: Record
    client: Connection
    upstream: str
    _writer: asyncio.StreamWriter | None = field(default=None, init=False)
    _sending: asyncio.Task[None] | None = field(default=None, init=False)

    @property
    def has_body(self) -> bool:
        return self.request.is_chunked or bool(int(self.request.get("Content-Length") or 0))

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body, as it comes."""
        if self.request.get("Expect"):
            await self.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.request.drop("Expect")
        async for block in httpwire.request_body(self.client, self.request):
            yield block

    async def ask(self) -> Answer:
        """Pass the request on with all of its body, and give the answer, which may come earlier."""
        reader, self._writer = await self.connect()
        self._sending = asyncio.create_task(self._send(self._writer))
        head = await httpwire.read_head(reader)
        while head and head.status < 200:
            head = await httpwire.read_head(reader)
        if head is None:
            raise ConnectionResetError("the registry gave no answer")
        return Answer(head, httpwire.response_body(reader, head, self.request.method))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self.upstream.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        try:
            blocks = self.body()
            first = await anext(blocks, b"")  # after which an Expect has been dealt with
            writer.write(self.request.encode() + self.framed(first) if first else self.request.encode())
            async for block in blocks:
                await writer.drain()
                writer.write(self.framed(block))
            if self.request.is_chunked:
                writer.write(httpwire.chunk(b""))
            await writer.drain()
        except ConnectionError:
            writer.transport.abort()  # whoever waits for an answer need not any more

    def framed(self, block: bytes) -> bytes:
        return httpwire.chunk(block) if self.request.is_chunked else block

    async def reply(self, answer: Answer) -> None:
        """Give the client an answer; one without a length ends with the connection."""
        await self.begin(answer.head)
        async for block in answer.body:
            await self.client.write(httpwire.chunk(block) if answer.head.is_chunked else block)
        if answer.head.is_chunked:
            await self.client.write(httpwire.chunk(b""))
        early = self._sending is not None and not self._sending.done()
        if early or answer.head.get("Connection").lower() == "close":
            await self.client.finish()

    async def begin(self, head: Head) -> None:
        self.record.status = head.status
        await self.client.write(head.encode())

    async def pass_on(self) -> None:
        await self.reply(await self.ask())

    async def spare(self) -> None:
        """Pass on a request to which a fault cannot happen."""
        self.record.fault = ""
        await self.pass_on()

    async def close(self) -> None:
        if self._sending:
            self._sending.cancel()
        if self._writer:
            self._writer.close()
