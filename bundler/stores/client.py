"""Requests to one registry, whatever the link does; with `auth`, the only importer of ``oras``.

oras brings the round of request, challenge, token and request. Around it stand our own timeouts, attempts and
rules of who may see our credentials (docs/adr/0002-oras-as-a-thin-client.md).
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import oras.provider
import requests
import requests.adapters
import urllib3

from bundler.errors import AuthorizationError, BundlerError, NoSpaceError, NotFoundError, StoreError
from bundler.format import document
from bundler.stores import credentials, tls
from bundler.stores.auth import RegistryAuth, origin_of
from bundler.stores.credentials import Credentials
from bundler.stores.limits import Limits
from bundler.stores.receiving import body
from bundler.stores.retry import RETRIED, TransientError, attempts

CONNECT_TIMEOUT = 15.0
"""Seconds until a connection stands, and for each `SEND_BLOCK` that is sent on it."""
COMMIT_PATIENCE = 5
"""How many times `Limits.timeout` the answer to the end of an upload may take: a registry may hash a large blob before."""
SEND_BLOCK = 16 << 10
"""Bytes that are sent at a time; with `CONNECT_TIMEOUT` that makes the slowest link that is borne, some 1 kB/s."""

_send = oras.provider.Registry.do_request.__wrapped__  # without the 131 s of waits that oras adds


class RegistryClient:
    """Speaks to one registry, in the way that it was found to want."""

    def __init__(
        self,
        registry: str,
        *,
        plain_http: bool,
        limits: Limits,
        tell: Callable[[str], None] | None = None,
        known: Credentials | None = None,
    ) -> None:
        logging.getLogger("oras").setLevel(logging.CRITICAL)  # we raise what it would print
        self.registry = registry
        self.limits = limits
        self._tell = tell or (lambda _: None)
        self._oras = oras.provider.Registry()
        self._session = self._oras.session = _Session(registry, limits)
        self.origin = self.retried(self._find_origin, plain_http)
        self._oras.auth = RegistryAuth(self.origin, known or credentials.find(registry), limits.timeout)
        self._oras.auth.session = self._session

    def retried(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """What some work gives, which is repeated while it raises `TransientError`, within bounds."""
        return attempts(self.limits, self._tell)(work, *arguments)

    def url(self, path: str) -> str:
        """The address of something below ``/v2/``."""
        return f"{self.origin}/v2/{path}"

    def request(self, method: str, url: str, where: str, expected: Sequence[int], **options: Any) -> requests.Response:
        """The response to a request, repeated within bounds; raises `NotFoundError`, `AuthorizationError`, `StoreError`.

        ``options`` are ``headers``, ``stream``, and as ``data`` a body that can be sent several times.
        """
        response: requests.Response = self.retried(self.request_once, method, url, where, expected, options)
        return response

    def request_once(
        self, method: str, url: str, where: str, expected: Sequence[int], options: Mapping[str, Any]
    ) -> requests.Response:
        """As `request`, but not repeated: what may be worth it raises `TransientError`."""
        headers, streams = dict(options.get("headers", {})), options.get("stream", False)
        with self.network_errors():
            response: requests.Response = _send(self._oras, url, method, options.get("data"), headers, stream=True)
        self._check(response, where, expected)
        if not streams:
            with self.network_errors():
                self._drain(response)
        return response

    def read_document(self, url: str, where: str, headers: Mapping[str, str]) -> tuple[requests.Response, bytes]:
        """A response and its body, of which no more than one byte over `document.MAX_SIZE` is read."""

        def read() -> tuple[requests.Response, bytes]:
            options = {"headers": {**headers, "Accept-Encoding": "identity"}, "stream": True}
            with self.request_once("GET", url, where, (200,), options) as response, self.network_errors():
                return response, body(response, document.MAX_SIZE + 1, self.limits.timeout)

        found: tuple[requests.Response, bytes] = self.retried(read)
        return found

    def follow(self, address: str, known: str) -> str:
        """Where a ``Location`` or ``Link`` leads; raises `StoreError` when it would take our credentials to somebody else."""
        url = urljoin(known, address)
        if origin_of(url) != self.origin:
            raise StoreError(f"{self.registry} sends us on to another host, {urlsplit(url).netloc[:200]}")
        return url

    @contextmanager
    def network_errors(self) -> Iterator[None]:
        """Turn what goes wrong on the way into `TransientError`, or into what no repetition can mend."""
        try:
            yield
        except requests.exceptions.SSLError as error:
            raise StoreError(
                f"{self.registry}: the TLS connection failed: {_root(error)}",
                hint=f"The certificate of a private authority belongs into /etc/docker/certs.d/{self.registry}/ca.crt; "
                "for a registry without TLS use --plain-http.",
            ) from error
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.TooManyRedirects) as error:
            raise StoreError(f"{self.registry}: it sends us to where nothing is: {error}") from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise TransientError(
                f"{self.registry}: {_root(error)}", hint="Check the address and the link, then run the same command again."
            ) from error
        except ValueError as error:  # how oras says that it could not authenticate
            raise denied(self.registry, str(error)) from error
        except AuthorizationError as error:
            error.hint = error.hint or denied(self.registry, "").hint
            raise

    def _find_origin(self, plain_http: bool) -> str:
        """How the registry is reached; loopback may do without TLS."""
        host = "registry-1.docker.io" if self.registry == "docker.io" else self.registry
        if plain_http:
            return self._knock(f"http://{host}")
        try:
            return self._knock(f"https://{host}")
        except StoreError as error:
            if not is_loopback(self.registry) or "certificate verify failed" in error.message:
                raise
            try:
                return self._knock(f"http://{host}")
            except _TlsWantedError:
                raise error from None

    def _knock(self, origin: str) -> str:
        try:
            with self.network_errors(), self._session.get(f"{origin}/v2/", stream=True) as response:
                if response.status_code == 400 and origin.startswith("http:"):
                    raise _TlsWantedError
                self._drain(response)
        except StoreError as error:
            raise _lasting(error) from error.__cause__
        return origin

    def _check(self, response: requests.Response, where: str, expected: Sequence[int]) -> None:
        status = response.status_code
        if status in expected:
            return
        reason = self._reason(response)
        if "no space left" in reason or status == 507:
            raise NoSpaceError(f"{where}: the registry has no space left: {reason}")
        if status in RETRIED:
            error = TransientError(f"{where}: the registry answered {status}: {reason}", hint="Run the same command again later.")
            error.retry_after = number_in(response, "Retry-After")
            raise error
        if status in (401, 403):
            raise denied(where, reason)
        if status == 404:
            raise NotFoundError(f"{where} is not there: {reason}", hint=f"See what is: fps-bundle list {where.split('@')[0]}")
        raise StoreError(f"{where}: the registry answered {status} to {response.request.method}: {reason}")

    def _reason(self, response: requests.Response) -> str:
        """The registry's own words (distribution spec, "Error Codes")."""
        try:
            first = document.load(self._drain(response), "the answer")["errors"][0]
            return f"{first.get('message') or first['code']} {first.get('detail') or ''}".strip()[:300]
        except (BundlerError, ValueError, LookupError, TypeError, AttributeError, OSError, urllib3.exceptions.HTTPError):
            return response.reason or "no reason given"

    def _drain(self, response: requests.Response) -> bytes:
        """Read a short body, so that the connection can be used again."""
        data = body(response, document.MAX_SIZE, self.limits.timeout, decode=True)
        response.close()
        return data


class _TlsWantedError(Exception):
    """A registry that speaks TLS was spoken to without."""


class _Session(requests.Session):
    """A session in which no request waits for ever, and no redirect leads out of TLS."""

    def __init__(self, registry: str, limits: Limits) -> None:
        super().__init__()
        self._connect_timeout = min(CONNECT_TIMEOUT, limits.timeout)
        self._timeout = limits.timeout
        self.trust_env = not is_loopback(registry)  # a proxy of the environment cannot reach our loopback
        self.auth = _no_netrc
        connections = limits.parallel + 2
        self.mount("https://", tls.Adapter(tls.context(registry), pool_maxsize=connections))
        self.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=connections))

    def request(self, method: str | bytes, url: str | bytes, *arguments: Any, **options: Any) -> requests.Response:
        commits = method == "PUT" and "/manifests/" not in str(url)
        options["timeout"] = (self._connect_timeout, self._timeout * (COMMIT_PATIENCE if commits else 1))
        return super().request(method, url, *arguments, **options)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Takes ours away where a redirect leads to another host, and none for that one out of ``~/.netrc``."""
        if self.should_strip_auth(response.request.url, prepared_request.url):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("Authorization", None)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target and urlsplit(resp.url).scheme == "https" and urlsplit(urljoin(resp.url, target)).scheme != "https":
            raise StoreError(f"{urlsplit(resp.url).netloc} sends us on to a host without TLS, {target[:200]!r}")
        return target


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leaves a request as it is; without it requests would take credentials out of ``~/.netrc``."""
    return request


def _lasting(error: StoreError) -> StoreError:
    """A registry that nobody listens at, or that has no such name, is told at once: more often it is mistyped than away."""
    text = str(error)
    if isinstance(error, TransientError) and any(sign in text for sign in ("refused", "not known", "resolve", "unreachable")):
        return StoreError(error.message, hint=error.hint)
    return error


def number_in(response: requests.Response, header: str) -> int | None:
    """The number that a header of an answer holds, such as the seconds of ``Retry-After`` (RFC 9110, section 10.2.3)."""
    said = response.headers.get(header, "")
    return int(said) if re.fullmatch("[0-9]{1,18}", said) else None


def denied(where: str, reason: str) -> AuthorizationError:
    """That a registry wants other credentials than it got."""
    host = where.partition("/")[0]
    return AuthorizationError(
        f"{where}: the registry refused us: {reason}", hint=f"Log in with an account that may do this: fps-bundle login {host}"
    )


def is_loopback(registry: str) -> bool:
    """Whether a registry is on this host, where plain HTTP is nobody else's to hear."""
    host = urlsplit(f"//{registry}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _root(error: BaseException) -> str:
    """The innermost reason, without the layers of wrapping that requests and urllib3 add."""
    for inner in (getattr(error, "reason", None), *error.args):
        if isinstance(inner, BaseException):
            return _root(inner)
    return re.sub(r"^\w+\([^)]*\): ", "", str(error))
