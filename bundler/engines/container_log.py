"""The last words of a container, from what its engine sends of its log (Docker Engine API, "Stream format")."""

from __future__ import annotations

import struct

from bundler.streams import BLOCK, Readable

MOST = 4 << 20
"""Bytes of a log that are read; lines can have any length."""
SHOWN = 16 << 10
"""Bytes of its end that are kept."""

_HEADER = struct.Struct(">BxxxL")  # which stream a piece is of, and how long it is


def text(stream: Readable, *, tty: bool) -> str:
    """The end of a log as text; only that of a container without a terminal comes in pieces with a header each."""
    content = _read(stream)
    return (content if tty else _joined(content))[-SHOWN:].decode("utf-8", "replace").strip()


def _read(stream: Readable) -> bytes:
    content = bytearray()
    while len(content) < MOST and (block := stream.read(min(BLOCK, MOST - len(content)))):
        content += block
    return bytes(content)


def _joined(content: bytes) -> bytes:
    pieces = bytearray()
    place = 0
    while place + _HEADER.size <= len(content):
        _, size = _HEADER.unpack_from(content, place)
        place += _HEADER.size
        pieces += content[place : place + size]
        place += size
    return bytes(pieces)
