"""The end of a container's log (Docker Engine API, "Stream format")."""

from __future__ import annotations

import struct

from bundler.streams import BLOCK, Readable

MAX_SIZE = 4 << 20
"""Bytes of a log that are read at most; lines can have any length."""
MAX_SHOWN = 16 << 10
"""Bytes of its end that are shown at most."""

_HEADER = struct.Struct(">BxxxL")  # the number of the stream and the length of a frame


def text(stream: Readable, *, tty: bool) -> str:
    """Return the end of a log as text; the log of a container without a terminal is a sequence of frames."""
    content = _read(stream)
    return (content if tty else _payloads(content))[-MAX_SHOWN:].decode("utf-8", "replace").strip()


def _read(stream: Readable) -> bytes:
    content = bytearray()
    while len(content) < MAX_SIZE and (block := stream.read(min(BLOCK, MAX_SIZE - len(content)))):
        content += block
    return bytes(content)


def _payloads(content: bytes) -> bytes:
    payloads = bytearray()
    offset = 0
    while offset + _HEADER.size <= len(content):
        _, size = _HEADER.unpack_from(content, offset)
        offset += _HEADER.size
        payloads += content[offset : offset + size]
        offset += size
    return bytes(payloads)
