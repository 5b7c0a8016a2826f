"""Long answers over a Unix socket: whole whatever their pieces are, refusals as they are told, and no waiting for ever."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bundler.engines import unix_http
from bundler.errors import EngineError

HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: application/x-tar\r\n\r\n"
CONTENT = bytes(range(256)) * 10_000


@contextlib.contextmanager
def answering(path: Path, pieces: Sequence[bytes], *, until: threading.Event | None = None) -> Iterator[list[bytes]]:
    """A server that sends these pieces to the first client, waits for ``until``, and closes; gives what it was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            with server.accept()[0] as connection, contextlib.suppress(BrokenPipeError):
                asked.append(connection.recv(1 << 16))
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(0.001)
                if until:
                    until.wait(600)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        thread.join()


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD, *cut(CONTENT, 100_000)],
        [HEAD + CONTENT[:7], CONTENT[7:]],
        [HEAD + CONTENT],
        [*cut(HEAD, 10), CONTENT],
        [HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(CONTENT)), CONTENT],
        [
            HEAD.replace(b"1.0", b"1.1").replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
            b"%x\r\n" % len(CONTENT),
            CONTENT + b"\r\n0\r\n\r\n",
        ],
    ],
)
@pytest.mark.parametrize("size", [512, 1 << 20, 1 << 30])
def test_a_body_comes_whole(tmp_path: Path, pieces: list[bytes], size: int) -> None:
    with answering(tmp_path / "socket", pieces) as asked, unix_http.get(str(tmp_path / "socket"), "/v1/x?path=%2F", 5, 5) as found:
        status, body = found
        assert status == 200
        assert b"".join(iter(lambda: body.read(size), b"")) == CONTENT
    assert asked[0].startswith(b"GET /v1/x?path=%2F HTTP/1.0\r\n")


def test_a_refusal_is_told(tmp_path: Path) -> None:
    refusal = b'HTTP/1.0 404 Not Found\r\nContent-Length: 26\r\n\r\n{"message":"no such file"}'
    with answering(tmp_path / "socket", [refusal]), unix_http.get(str(tmp_path / "socket"), "/x", 5, 5) as (status, body):
        assert (status, body.read()) == (404, b'{"message":"no such file"}')


def test_what_is_no_engine_is_told(tmp_path: Path) -> None:
    with (
        answering(tmp_path / "socket", [b"SSH-2.0-OpenSSH_9.2\r\n"]),
        pytest.raises(EngineError, match="no HTTP server at"),
        unix_http.get(str(tmp_path / "socket"), "/x", 5, 5),
    ):
        pass


def test_nobody_is_waited_for_without_end(tmp_path: Path) -> None:
    given_up = threading.Event()
    with (
        answering(tmp_path / "socket", [HEAD, b"some"], until=given_up),
        unix_http.get(str(tmp_path / "socket"), "/x", 1, 1) as (_, body),
    ):
        assert body.read(4) == b"some"
        with pytest.raises(BlockingIOError):
            body.read(1)
        given_up.set()


def test_nobody_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), unix_http.get(str(tmp_path / "socket"), "/x", 1, 1):
        pass
