"""HTTP/1.1 messages on asyncio streams (RFC 9112), as far as a proxy must understand them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

BLOCK = 1 << 16
TLS = b"\x16"
"""Begins a handshake (RFC 8446, section 5.1)."""


class Source(Protocol):
    """What a message is read from: an `asyncio.StreamReader`, or what counts what comes from one."""

    async def read(self, size: int, /) -> bytes: ...
    async def readuntil(self, end: bytes, /) -> bytes: ...
    async def readexactly(self, size: int, /) -> bytes: ...


@dataclass
class Head:
    """The start line and the fields of a request or a response."""

    start: str
    fields: list[tuple[str, str]]

    @property
    def method(self) -> str:
        return self.start.split(" ")[0]

    @property
    def path(self) -> str:
        return self.start.split(" ")[1]

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    def get(self, name: str) -> str:
        return next((value for key, value in self.fields if key.lower() == name.lower()), "")

    def drop(self, name: str) -> None:
        self.fields = [(key, value) for key, value in self.fields if key.lower() != name.lower()]

    def put(self, name: str, value: str) -> None:
        self.drop(name)
        self.fields.append((name, value))

    def encode(self) -> bytes:
        return "".join(f"{line}\r\n" for line in [self.start, *(f"{key}: {value}" for key, value in self.fields), ""]).encode(
            "latin-1"
        )

    @property
    def is_chunked(self) -> bool:
        return "chunked" in self.get("Transfer-Encoding").lower()


def response(status: int, *fields: tuple[str, str]) -> Head:
    return Head(f"HTTP/1.1 {status} Because", list(fields))


async def read_head(reader: Source) -> Head | None:
    """The next head; None where the connection has ended instead, or begins with TLS."""
    try:
        first = await reader.readexactly(1)
        if first == TLS:
            return None
        lines = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return Head(lines[0], [(key, value.strip()) for key, _, value in (line.partition(":") for line in lines[1:])])


def request_body(reader: Source, head: Head) -> AsyncIterator[bytes]:
    return _chunked(reader) if head.is_chunked else _sized(reader, int(head.get("Content-Length") or 0))


def response_body(reader: Source, head: Head, method: str) -> AsyncIterator[bytes]:
    if method == "HEAD" or head.status in (204, 304):
        return _sized(reader, 0)
    if head.is_chunked:
        return _chunked(reader)
    return _sized(reader, int(head.get("Content-Length"))) if head.get("Content-Length") else _until_end(reader)


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; an empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _sized(reader: Source, left: int) -> AsyncIterator[bytes]:
    while left:
        block = await reader.read(min(BLOCK, left))
        if not block:
            raise ConnectionResetError("the connection ended inside a body")
        left -= len(block)
        yield block


async def _chunked(reader: Source) -> AsyncIterator[bytes]:
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        async for block in _sized(reader, size):
            yield block
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers say nothing that matters here


async def _until_end(reader: Source) -> AsyncIterator[bytes]:
    while block := await reader.read(BLOCK):
        yield block
