"""Whether a registry takes credentials (distribution spec, "Authentication"; distribution, "Token Authentication")."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlencode, urlsplit
from urllib.request import parse_http_list

import requests

from bundler.errors import AuthorizationError, StoreError
from bundler.stores import tls
from bundler.stores.credentials import Credentials

_TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and without a single byte."""

_Auth = Callable[[requests.PreparedRequest], requests.PreparedRequest]


def check_login(registry: str, credentials: Credentials, *, plain_http: bool = False) -> None:
    """Show a user name and a password to a registry, or to its token service.

    Raises `AuthorizationError` when they are refused. A registry that asks nobody who he is takes any.
    """
    with requests.Session() as session:
        session.mount("https://", tls.Adapter(tls.context(registry)))
        session.trust_env = not _is_loopback(registry)  # a proxy of the environment cannot reach our loopback
        answer = _knock(session, registry, plain_http=plain_http)
        scheme, _, rest = answer.headers.get("WWW-Authenticate", "").partition(" ")
        if answer.status_code == 401:
            basic = requests.auth.HTTPBasicAuth(credentials.user.encode(), credentials.secret.encode())
            where = answer.url if scheme.lower() == "basic" else _token_service(registry, answer.url, scheme, rest)
            answer = _get(session, registry, where, basic)
    if answer.status_code in (401, 403):
        raise AuthorizationError(f"{registry} refused the user {credentials.user}", hint="Check the user name and the password.")
    if answer.status_code != 200:
        raise StoreError(f"{urlsplit(answer.url).netloc} answered {answer.status_code}", hint=_hint(registry))


def _knock(session: requests.Session, registry: str, *, plain_http: bool) -> requests.Response:
    """The answer of a registry to somebody unknown; on our loopback also of one without TLS."""
    host = "registry-1.docker.io" if registry == "docker.io" else registry
    if plain_http:
        return _get(session, registry, f"http://{host}/v2/", _nobody)
    try:
        return _get(session, registry, f"https://{host}/v2/", _nobody)
    except StoreError:
        if not _is_loopback(registry):
            raise
        with suppress(StoreError):
            answer = _get(session, registry, f"http://{host}/v2/", _nobody)
            if answer.status_code != 400:  # with which one that does speak TLS says so
                return answer
        raise


def _token_service(registry: str, url: str, scheme: str, challenge: str) -> str:
    """The address of the service that a registry names; raises `StoreError` when the password must not go there."""
    values = {name: value.strip('"') for name, _, value in (item.partition("=") for item in parse_http_list(challenge))}
    realm = values.get("realm", "")
    if scheme.lower() != "bearer" or not realm.startswith(("http://", "https://")):
        raise StoreError(f"{registry} asks for credentials in a way that is not known here: {scheme}", hint=_hint(registry))
    if url.startswith("https://") and not realm.startswith("https://"):
        raise StoreError(f"{registry} wants the password to go unencrypted to {realm}")
    return f"{realm}{'&' if '?' in realm else '?'}{urlencode({'service': values.get('service', '')})}"


def _get(session: requests.Session, registry: str, url: str, auth: _Auth) -> requests.Response:
    with _network_errors(registry):
        # A password goes where it was meant to go, and not where that sends us. Of the answer only the head is read.
        return session.get(url, auth=auth, timeout=_TIMEOUT, allow_redirects=False, stream=True)


@contextmanager
def _network_errors(registry: str) -> Iterator[None]:
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise StoreError(
            f"{registry}: the TLS connection failed: {_root(error)}",
            hint=f"The certificate of a private authority belongs into /etc/docker/certs.d/{registry}/ca.crt.",
        ) from error
    except requests.exceptions.RequestException as error:
        raise StoreError(f"{registry} cannot be reached: {_root(error)}", hint=_hint(registry)) from error


def _root(error: BaseException) -> str:
    """The innermost reason, without the wrapping of requests and urllib3."""
    inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
    return _root(inner) if isinstance(inner, BaseException) else re.sub(r"^\w+\([^)]*\): ", "", str(error))


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leaves a request as it is; without it requests would take credentials out of ``~/.netrc``."""
    return request


def _is_loopback(registry: str) -> bool:
    host = urlsplit(f"//{registry}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hint(registry: str) -> str:
    return f"Check that {registry} is a registry, and the link to it; one without TLS needs --plain-http."
