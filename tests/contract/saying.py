"""A server that says what it is told to, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tokenregistry import serving


@dataclass(frozen=True)
class Asked:
    """One request: its method, path, headers and how many bytes its body had."""

    method: str
    path: str
    headers: dict[str, str]
    size: int


@dataclass
class Say:
    """An answer: status, body, and headers."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Saying:
    """A server, and all that it was asked, in order."""

    address: str = ""
    asked: list[Asked] = field(default_factory=list)

    def paths(self, method: str) -> list[str]:
        return [asked.path for asked in self.asked if asked.method == method]


@contextmanager
def saying(answer: Callable[[Asked], Say], certificate: tuple[Path, Path] | None = None) -> Iterator[Saying]:
    """Run a server that answers as a function says, with TLS when it is given a certificate and its key."""
    found = Saying()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30
        wbufsize = 1 << 16  # an answer goes out as one packet, for which no acknowledgement is waited for

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, self.path, dict(self.headers), len(body))
            found.asked.append(asked)
            said = answer(asked)
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said.body)
            self.wfile.flush()

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _any  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed."""

    with serving(Handler, certificate) as address:
        found.address = address
        yield found
