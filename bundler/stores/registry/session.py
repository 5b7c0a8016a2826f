"""HTTP session for one registry: every response has a time limit, and credentials stay with their origin."""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import time
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import requests.adapters
import urllib3
import urllib3.connection

from bundler.errors import StoreError
from bundler.stores.registry import tls
from bundler.stores.registry.limits import Limits

CONNECT_TIMEOUT = 15.0
"""Seconds to connect, and to send each `SEND_BLOCK`."""
COMMIT_PATIENCE = 5
"""Factor on `Limits.timeout` for the response to the end of an upload: the registry may hash a large blob first."""
SEND_BLOCK = 16 << 10
"""Bytes sent at a time; with `CONNECT_TIMEOUT` the slowest usable link has about 1 kB/s."""

_PORTS = {"http": 80, "https": 443}


class Session(requests.Session):
    """A session with timeouts, without redirects from TLS to plain HTTP, and without cookies.

    Registries need no cookies. A cookie is not bound to a port: a redirect could send it to another server of the host.
    """

    def __init__(self, registry: str, limits: Limits) -> None:
        super().__init__()
        self._connect_timeout = min(CONNECT_TIMEOUT, limits.timeout)
        self._timeout = limits.timeout
        self.trust_env = not is_loopback(registry)  # a proxy from the environment cannot reach our loopback
        self.auth = _no_netrc
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = _TimedAdapter(tls.context(registry), pool_maxsize=limits.parallel + 2)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def request(self, method: str | bytes, url: str | bytes, *arguments: Any, **options: Any) -> requests.Response:
        commits = method == "PUT" and "/manifests/" not in str(url)
        options["timeout"] = (self._connect_timeout, self._timeout * (COMMIT_PATIENCE if commits else 1))
        return super().request(method, url, *arguments, **options)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Remove cookies from a redirected request, and our credentials when it goes to another origin.

        requests keeps credentials when a redirect goes from port 80 to port 443, and would add others from ``~/.netrc``.
        """
        prepared_request.headers.pop("Cookie", None)
        if origin_of(str(prepared_request.url)) != origin_of(response.url):
            prepared_request.headers.pop("Authorization", None)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target and urlsplit(resp.url).scheme == "https" and urlsplit(urljoin(resp.url, target)).scheme != "https":
            raise StoreError(f"{urlsplit(resp.url).netloc} redirects to a host without TLS, {target[:200]!r}")
        return target


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL (RFC 6454), without a default port; credentials belong to an origin."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:  # an invalid port: equal to no known origin
        return url
    host, is_plain = parts.hostname or "", port in (None, _PORTS.get(parts.scheme))
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{user}{shown}" if is_plain else f"{parts.scheme}://{user}{shown}:{port}"


def is_loopback(registry: str) -> bool:
    """Whether a registry is on this host, where plain HTTP stays on the host."""
    host = urlsplit(f"//{registry}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Return the request unchanged; without this hook requests would read credentials from ``~/.netrc``."""
    return request


class _TimedAdapter(tls.Adapter):
    """Makes connections whose responses have a deadline."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _TimedResponse(http.client.HTTPResponse):
    """A response whose headers must all arrive within the timeout of the socket.

    After that, each read of the body has this timeout again.
    """

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self._timed = _TimedSocket(sock, self.fp.detach())
        self.fp = io.BufferedReader(self._timed)

    def begin(self) -> None:
        super().begin()
        self._timed.end()


class _TimedSocket(io.RawIOBase):
    """Reads from a socket until a deadline that can be removed."""

    def __init__(self, sock: socket.socket, content: io.RawIOBase) -> None:
        self._socket = sock
        self._content = content
        self._timeout = sock.gettimeout()
        self._deadline = None if self._timeout is None else time.monotonic() + self._timeout

    def end(self) -> None:
        """Remove the deadline."""
        self._deadline = None
        self._socket.settimeout(self._timeout)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the response headers did not arrive in time")
            self._socket.settimeout(left)
        count: int | None = self._content.readinto(buffer)
        return count

    def close(self) -> None:
        self._content.close()
        super().close()


class _TimedConnection(urllib3.connection.HTTPConnection):
    response_class = _TimedResponse


class _TimedTlsConnection(urllib3.connection.HTTPSConnection):
    response_class = _TimedResponse


class _TimedPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _TimedConnection


class _TimedTlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TimedTlsConnection


_POOLS = {"http": _TimedPool, "https": _TimedTlsPool}
