"""The fault proxy passes on what it is not told to fail, and fails the rest as it says."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import faults
import pytest
from exchange import Fault
from faultproxy import FaultProxy, fault_proxy
from tokenregistry import serving

from bundler.format.content import Digest

BODY = b"0123456789" * 20_000


class _Upstream(BaseHTTPRequestHandler):
    """Gives `BODY`, or the part that is asked for; says what it got."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    seen: list[tuple[str, str, bytes]]

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = BODY[int(first) : int(last or len(BODY) - 1) + 1]
        self.seen.append((self.command, self.headers["Host"], b""))
        self.send_response(206 if "Range" in self.headers else 200)
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(BODY)}")
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%b\r\n3\r\nend\r\n0\r\n\r\n" % (len(part), part))
            return
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if len(data) < int(self.headers["Content-Length"]):
                return
        self.seen.append((self.command, self.headers["Host"], data))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def seen() -> list[tuple[str, str, bytes]]:
    return []


@pytest.fixture
def proxy(seen: list[tuple[str, str, bytes]]) -> Iterator[FaultProxy]:
    handler = type("Handler", (_Upstream,), {"seen": seen})
    with serving(handler) as upstream, fault_proxy(upstream) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(proxy.address, timeout=5)
    yield connection
    connection.close()


def put(client: http.client.HTTPConnection, data: bytes) -> int:
    client.request("PUT", "/", data)
    return client.getresponse().status


def connect(proxy: FaultProxy, seconds: float = 5) -> socket.socket:
    host, _, port = proxy.address.partition(":")
    return socket.create_connection((host, int(port)), seconds)


def get(client: http.client.HTTPConnection, path: str = "/", **headers: str) -> tuple[int, bytes]:
    client.request("GET", path, headers=headers)
    answer = client.getresponse()
    return answer.status, answer.read()


def test_what_is_not_failed_goes_through_as_it_is(
    proxy: FaultProxy, client: http.client.HTTPConnection, seen: list[tuple[str, str, bytes]]
) -> None:
    assert get(client) == (200, BODY)
    assert get(client, "/chunked") == (200, BODY + b"end")
    client.request("HEAD", "/head")
    assert client.getresponse().read() == b""
    client.request("PUT", "/sized", BODY)
    assert (client.getresponse().read(), seen[-1]) == (b"", ("PUT", proxy.address, BODY))
    client.request("PUT", "/chunks", iter([BODY, b"more"]), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert (client.getresponse().read(), seen[-1]) == (b"", ("PUT", proxy.address, BODY + b"more"))
    assert [(record.method, record.path, record.status) for record in proxy.records] == [
        ("GET", "/", 200),
        ("GET", "/chunked", 200),
        ("HEAD", "/head", 200),
        ("PUT", "/sized", 201),
        ("PUT", "/chunks", 201),
    ]
    assert (proxy.traffic.connections, proxy.injected) == (1, 0)
    assert 2 * len(BODY) < proxy.traffic.up < 2 * len(BODY) + 2000
    assert 2 * len(BODY) < proxy.traffic.down < 2 * len(BODY) + 2000


def test_a_client_may_ask_before_it_sends(proxy: FaultProxy, seen: list[tuple[str, str, bytes]]) -> None:
    with connect(proxy) as raw:
        raw.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert raw.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(b"data")
        assert raw.recv(100).startswith(b"HTTP/1.1 201 ")
    assert seen == [("PUT", "x", b"data")]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.answer(500), (500, b"")),
        (faults.busy(3), (429, b"")),
        (faults.unauthorized(), (401, b"")),
        (faults.flip(), (200, BODY[:100_000] + b"1" + BODY[100_001:])),
        (faults.other_size(-7), (200, BODY[:-7])),
        (faults.other_size(+7), (200, BODY + bytes(7))),
        (faults.wrong_length(-7), (200, BODY[:-7])),
        (faults.page(), (200, faults.PAGE)),
    ],
    ids=lambda it: str(it)[:40],
)
def test_an_answer_that_is_another(
    proxy: FaultProxy, client: http.client.HTTPConnection, fault: Fault, expected: tuple[int, bytes]
) -> None:
    proxy.fail(fault, since=1)
    assert get(client) == (200, BODY)
    assert get(client) == expected
    assert (proxy.records[1].fault, proxy.injected) == (fault.name, 1)


@pytest.mark.parametrize(
    ("fault", "reaches"),
    [
        (faults.reset(), False),
        (faults.lost_reply(), True),
        (faults.reset_within_reply(), True),
        (faults.wrong_length(+7), True),
    ],
    ids=str,
)
def test_an_answer_that_does_not_come(
    proxy: FaultProxy, client: http.client.HTTPConnection, seen: list[tuple[str, str, bytes]], fault: Fault, reaches: bool
) -> None:
    proxy.fail(fault)
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        get(client)
    assert bool(seen) == reaches
    client.close()
    assert get(client) == (200, BODY)


def test_half_of_a_reply_comes_before_the_reset(proxy: FaultProxy) -> None:
    proxy.fail(faults.reset_within_reply(after=1000))
    with connect(proxy) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        blocks: list[bytes] = []
        with pytest.raises(ConnectionResetError):
            blocks.extend(iter(lambda: raw.recv(1 << 16), None))
    assert b"".join(blocks).endswith(b"\r\n\r\n" + BODY[:1000])


def test_a_request_that_breaks_off_never_arrives(
    proxy: FaultProxy, client: http.client.HTTPConnection, seen: list[tuple[str, str, bytes]]
) -> None:
    proxy.fail(faults.reset_within_request(after=1000), method="PUT")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        put(client, BODY * 50)
    assert seen == []


def test_an_upload_may_be_refused_in_its_middle(
    proxy: FaultProxy, client: http.client.HTTPConnection, seen: list[tuple[str, str, bytes]]
) -> None:
    proxy.fail(faults.unauthorized(after=1000), method="PUT")
    assert put(client, BODY) == 401
    assert seen == []


@pytest.mark.parametrize("fault", [faults.silence(), faults.stall(), faults.trickle()], ids=str)
def test_an_answer_that_takes_for_ever(proxy: FaultProxy, fault: Fault) -> None:
    proxy.fail(fault)
    with connect(proxy, 1.5) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        ends, got = time.monotonic() + 1.5, b""
        try:
            while time.monotonic() < ends and (block := raw.recv(1 << 16)):
                got += block
        except TimeoutError:
            pass
        else:
            assert fault.name == "trickle"
    assert len(got) < len(BODY) * 3 / 4


def test_ranges_that_are_not_what_was_asked_for(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    assert get(client, Range="bytes=10-14") == (206, b"01234")
    proxy.fail(faults.whole())
    assert get(client, Range="bytes=10-14") == (200, BODY)
    proxy.fail(faults.other_range())
    client.request("GET", "/", headers={"Range": "bytes=10-14"})
    answer = client.getresponse()
    assert (answer.status, answer.headers["Content-Range"], answer.read()) == (206, "bytes 11-14/200000", b"01234")
    proxy.fail(faults.whole())
    assert get(client) == (200, BODY)
    assert proxy.injected == 2, "a request without a Range cannot be failed so"


def test_a_redirect_leads_to_a_host_that_records_what_it_is_sent(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    with fault_proxy(proxy.upstream) as other:
        proxy.fail(faults.redirect(other.address))
        client.request("GET", "/blob")
        answer = client.getresponse()
        assert (answer.status, answer.headers["Location"], answer.read()) == (307, f"http://{other.address}/blob", b"")
        second = http.client.HTTPConnection(other.address, timeout=5)
        assert get(second, "/blob", Authorization="secret") == (200, BODY)
        assert ("Authorization", "secret") in other.records[0].fields
        second.close()


@pytest.mark.parametrize("way", ["up", "down"])
def test_every_connection_is_cut_after_so_many_bytes(proxy: FaultProxy, way: str) -> None:
    proxy.cut(100_000, up=way == "up", down=way == "down", times=2)
    for _ in range(2):
        client = http.client.HTTPConnection(proxy.address, timeout=5)
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            put(client, BODY * 50) if way == "up" else get(client)
        client.close()
    assert proxy.traffic.cuts == proxy.injected == 2
    assert 200_000 <= getattr(proxy.traffic, way) < 201_000
    client = http.client.HTTPConnection(proxy.address, timeout=5)
    assert get(client) == (200, BODY)
    client.close()


def test_a_real_registry_leads_back_through_the_proxy(registry: str) -> None:
    with fault_proxy(registry) as proxy:
        client = http.client.HTTPConnection(proxy.address, timeout=30)
        client.request("POST", "/v2/through/proxy/blobs/uploads/")
        answer = client.getresponse()
        answer.read()
        location = answer.headers["Location"]
        assert location.startswith(f"http://{proxy.address}/v2/through/proxy/")
        digest = Digest(hashlib.sha256(BODY).hexdigest())
        client.request("PUT", f"{location}&digest={digest}", BODY)
        put = client.getresponse()
        assert (put.status, put.read()) == (201, b"")
        assert get(client, f"/v2/through/proxy/blobs/{digest}") == (200, BODY)
        client.close()


def test_nothing_is_left_behind() -> None:
    before = descriptors()
    with fault_proxy("127.0.0.1:9") as proxy:
        held = connect(proxy)
    held.close()
    assert descriptors() <= before


def descriptors() -> set[tuple[str, str]]:
    """What this process has open; what other tests have left to the collector may be closed at any time."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one of this very listing
            found.add((path.name, str(path.readlink())))
    return found


def test_who_speaks_tls_is_not_kept_waiting(proxy: FaultProxy) -> None:
    with connect(proxy) as raw:
        raw.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert raw.recv(100) == b""
