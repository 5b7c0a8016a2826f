"""Requests to one registry, with authentication and retries.

The round of request, challenge, token and request is `RegistryClient._send`; oras reads the challenge
(docs/dev/adr/0002-oras-as-a-thin-client.md).
"""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from bundler.errors import AuthorizationError, NoSpaceError, NotFoundError, StoreError
from bundler.format import strict_json
from bundler.stores.registry import credentials
from bundler.stores.registry.auth import RegistryAuth
from bundler.stores.registry.credentials import Credentials
from bundler.stores.registry.limits import Limits
from bundler.stores.registry.reason import read_refusal
from bundler.stores.registry.response_body import body
from bundler.stores.registry.retry import RETRIED, TransientError, attempts
from bundler.stores.registry.session import Session, is_loopback, origin_of

_NOT_LISTENING = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH)
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
"""OpenSSL's reasons for an answer that is not TLS."""


_Error = TypeVar("_Error", bound=BaseException)
_T = TypeVar("_T")
_P = ParamSpec("_P")


class RegistryClient:
    """Sends requests to one registry, over HTTPS or HTTP as the first request finds out."""

    def __init__(
        self,
        registry: str,
        *,
        plain_http: bool,
        limits: Limits,
        tell: Callable[[str], None] | None = None,
        known: Credentials | None = None,
    ) -> None:
        self.registry = registry
        self.limits = limits
        self._tell = tell or (lambda _: None)
        self._session = Session(registry, limits)
        self.origin = self.retried(self._find_origin, plain_http)
        self._auth = RegistryAuth(self.origin, known or credentials.find(registry), self._session, limits.timeout)
        self._authorization = ""
        """The last accepted ``Authorization``; requests of all threads start with it."""

    def retried(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run work, and run it again while it raises `TransientError` (see `attempts`)."""
        return attempts(self.limits, self._tell)(work, *args, **kwargs)

    def retried_with_progress(self, work: Callable[[], _T], position: Callable[[], int]) -> _T:
        """Do as `retried`; progress of ``position`` resets the count of attempts."""
        return attempts(self.limits, self._tell, position)(work)

    def url(self, path: str) -> str:
        """Return the URL of a path below ``/v2/``."""
        return f"{self.origin}/v2/{path}"

    def request(self, method: str, url: str, where: str, expected: Sequence[int], **options: Any) -> requests.Response:
        """Send a request with retries; raises `NotFoundError`, `AuthorizationError`, `StoreError`.

        ``options`` are ``headers``, ``stream``, and ``data``, a body that can be sent several times.
        """
        return self.retried(self.request_once, method, url, where, expected, options)

    def request_once(
        self, method: str, url: str, where: str, expected: Sequence[int], options: Mapping[str, Any]
    ) -> requests.Response:
        """Send a request once; raises `TransientError` for a failure that a retry may cure."""
        headers, streams = dict(options.get("headers", {})), options.get("stream", False)
        with self.network_errors():
            response = self._send(method, url, options.get("data"), headers)
        self._check(response, where, expected)
        if not streams:
            with self.network_errors():
                self._drain(response)
        return response

    def _send(self, method: str, url: str, data: Any, headers: Mapping[str, str]) -> requests.Response:
        """Send a request; on 401 authenticate and send it once more.

        Other requests get the new token only after this request was sent: a token may be valid for one request only.
        """

        def send(authorization: str) -> requests.Response:
            sent = {**headers, "Authorization": authorization} if authorization else headers
            return self._session.request(method, url, data=data, headers=sent, stream=True)

        response = send(self._authorization)
        if response.status_code != 401:
            return response
        fresh = self._auth.answer(response)
        response = send(fresh)
        self._authorization = fresh
        return response

    def read_document(self, url: str, where: str, headers: Mapping[str, str]) -> tuple[requests.Response, bytes]:
        """Return a response and its body; reads at most one byte more than `strict_json.MAX_SIZE`."""

        def read() -> tuple[requests.Response, bytes]:
            options = {"headers": {**headers, "Accept-Encoding": "identity"}, "stream": True}
            with self.request_once("GET", url, where, (200,), options) as response, self.network_errors():
                return response, body(response, strict_json.MAX_SIZE + 1, self.limits.timeout)

        return self.retried(read)

    def follow(self, address: str, known: str) -> str:
        """Resolve a ``Location`` or ``Link``; raises `StoreError` for another origin, which must not get our credentials."""
        url = urljoin(known, address)
        if origin_of(url) != self.origin:
            raise StoreError(f"{self.registry} refers to another host, {urlsplit(url).netloc[:200]}")
        return url

    @contextmanager
    def network_errors(self) -> Iterator[None]:
        """Translate network errors to `TransientError`, or to `StoreError` where a retry cannot help."""
        try:
            yield
        except requests.exceptions.SSLError as error:
            raise self._tls_failed(error) from error
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.TooManyRedirects) as error:
            raise StoreError(f"{self.registry} redirects to an invalid address: {error}") from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise TransientError(
                f"{self.registry}: {_root(error)}", hint="Check the address and the link, then run the same command again."
            ) from error
        except AuthorizationError as error:
            error.hint, error.command = error.hint or "Log in first:", error.command or f"fps-bundle login {self.registry}"
            raise

    def _tls_failed(self, error: BaseException) -> StoreError:
        found = _in_chain(error, ssl.SSLError)
        if found and found.reason in _NO_TLS:
            return StoreError(f"{self.registry} does not use TLS", hint="For a registry without TLS use --plain-http.")
        return StoreError(
            f"{self.registry}: the TLS connection failed: {_root(error)}",
            hint=f"Put the certificate of a private CA into /etc/docker/certs.d/{self.registry}/ca.crt",
        )

    def _find_origin(self, plain_http: bool) -> str:
        """Return the origin of the registry; only a loopback registry may do without TLS."""
        host = "registry-1.docker.io" if self.registry == "docker.io" else self.registry
        if plain_http:
            return self._probe_plain_http(host)
        try:
            return self._probe(f"https://{host}")
        except StoreError as error:
            if not is_loopback(self.registry) or _in_chain(error, ssl.SSLCertVerificationError):
                raise
            try:
                return self._probe(f"http://{host}")
            except _TlsWantedError:
                raise error from None

    def _probe_plain_http(self, host: str) -> str:
        try:
            return self._probe(f"http://{host}")
        except _TlsWantedError as error:
            raise StoreError(f"{self.registry} uses TLS, but --plain-http was given", hint="Leave out --plain-http.") from error
        except TransientError as error:
            error.hint = f"{error.hint} If the registry uses TLS, leave out --plain-http."
            raise

    def _probe(self, origin: str) -> str:
        try:
            with self.network_errors(), self._session.get(f"{origin}/v2/", stream=True) as response:
                if response.status_code == 400 and origin.startswith("http:"):
                    raise _TlsWantedError
                self._drain(response)
        except StoreError as error:
            if origin.startswith("http:") and _is_no_http(error):
                raise _TlsWantedError from error
            raise _lasting(error) from error.__cause__
        return origin

    def _check(self, response: requests.Response, where: str, expected: Sequence[int]) -> None:
        status = response.status_code
        if status in expected:
            return
        with self.network_errors():
            data = self._drain(response)
        refusal = read_refusal(response, data)
        why = refusal.reason
        if status == 507 or refusal.is_disk_full:
            raise NoSpaceError(f"{where}: the registry has no space left: {why}", hint="Free some space there, then try again.")
        if status in RETRIED:
            error = TransientError(f"{where}: the registry answered {status}: {why}", hint="Run the same command again later.")
            error.retry_after = number_in(response, "Retry-After")
            raise error
        if status in (401, 403):
            raise self._denied(where, status, why)
        if status == 404:
            raise NotFoundError(
                f"{where} not found: {why}", hint="List the bundles there:", command=f"fps-bundle list {where.split('@')[0]}"
            )
        raise StoreError(f"{where}: the registry answered {status} to {response.request.method}: {why}")

    def _denied(self, where: str, status: int, why: str) -> AuthorizationError:
        """Return the error for a denied request; it advises a login only where other credentials could help."""
        message = f"{where}: the registry answered {status}: {why}"
        if status == 403 and not self._auth.is_anonymous:
            return AuthorizationError(message, hint="Ask the registry's administrator; the account itself was accepted.")
        advice = "Log in with an account that has access:" if status == 401 else "If this needs an account, log in:"
        return AuthorizationError(message, hint=advice, command=f"fps-bundle login {self.registry}")

    def _drain(self, response: requests.Response) -> bytes:
        """Read a short body, so that the connection can be reused."""
        data = body(response, strict_json.MAX_SIZE, self.limits.timeout, decode=True)
        response.close()
        return data


class _TlsWantedError(Exception):
    """A registry that uses TLS was contacted without TLS."""


def _lasting(error: StoreError) -> StoreError:
    """Make a refused connection or an unknown host a permanent error: both are more often typing errors than outages."""
    is_away = _in_chain(error, socket.gaierror) or getattr(_in_chain(error, OSError), "errno", None) in _NOT_LISTENING
    return StoreError(error.message, hint=error.hint) if is_away else error


def _is_no_http(error: BaseException) -> bool:
    """Whether an answer had no status line, as from a server that expects a TLS handshake."""
    found = _in_chain(error, http.client.BadStatusLine)
    return found is not None and not isinstance(found, http.client.RemoteDisconnected)


def number_in(response: requests.Response, header: str) -> int | None:
    """Return the number in a response header, such as ``Retry-After`` (RFC 9110, section 10.2.3)."""
    text = response.headers.get(header, "")
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _in_chain(error: BaseException, kind: type[_Error]) -> _Error | None:
    """Return the innermost cause of a type; requests and urllib3 also keep causes in attributes."""
    for inner in (error.__cause__, getattr(error, "reason", None), *error.args):
        if isinstance(inner, BaseException) and (found := _in_chain(inner, kind)):
            return found
    return error if isinstance(error, kind) else None


def _root(error: BaseException) -> str:
    """Return the innermost reason, without the wrapping of requests and urllib3."""
    for inner in (getattr(error, "reason", None), *error.args):
        if isinstance(inner, BaseException):
            return _root(inner)
    return re.sub(r"^\w+\([^)]*\): ", "", str(error))
