"""Registry authentication: Basic, or Bearer with a token service (distribution spec, "Authentication")."""

from __future__ import annotations

from urllib.parse import urlsplit

import oras.auth.utils
import requests

from bundler.errors import AuthorizationError, StoreError
from bundler.format import strict_json
from bundler.stores.registry import credentials
from bundler.stores.registry.credentials import Credentials
from bundler.stores.registry.reason import read_refusal
from bundler.stores.registry.response_body import body
from bundler.stores.registry.retry import RETRIED, TransientError
from bundler.stores.registry.session import origin_of

CLIENT_ID = "fps-bundle"
_LONGEST_REASON = 1 << 16
_FAILURES: dict[int, type[StoreError | AuthorizationError]] = {
    **dict.fromkeys((400, 401, 403), AuthorizationError),
    **dict.fromkeys(RETRIED, TransientError),
}
"""Error types by the status of a token service's answer."""


class RegistryAuth:
    """Answers the challenges of one origin, ``SCHEME://HOST[:PORT]``, and of no other."""

    def __init__(self, origin: str, known: Credentials | None, session: requests.Session, timeout: float) -> None:
        self._origin = origin
        self._known = known
        self._session = session
        self._timeout = timeout

    @property
    def is_anonymous(self) -> bool:
        """Whether there are no credentials for this registry."""
        return self._known is None

    def answer(self, refused: requests.Response) -> str:
        """Return the ``Authorization`` that a 401 response asks for.

        Each 401 gets a new token: tokens expire, and a token may be valid for one request only. Raises
        `AuthorizationError` without the right credentials, and `StoreError` for a challenge that must not be answered.
        """
        body(refused, _LONGEST_REASON, self._timeout)  # so that the connection can be reused
        refused.close()
        if origin_of(refused.url) != self._origin:
            raise StoreError(f"{self._origin} redirects to {origin_of(refused.url)}, which asks for credentials")
        return self._authorization(refused.headers.get("WWW-Authenticate", ""))

    def _authorization(self, challenge: str) -> str:
        scheme = challenge.partition(" ")[0].lower()
        if scheme == "basic":
            if not self._known or not self._known.user:
                raise AuthorizationError(f"{self._origin} requires a user name and a password")
            return f"Basic {oras.auth.utils.get_basic_auth(self._known.user, self._known.secret)}"
        asked = oras.auth.utils.parse_auth_header(challenge)
        if scheme == "bearer" and _is_web_address(asked.realm or ""):
            return f"Bearer {self._fetch_token(asked)}"
        raise StoreError(f"{self._origin} requires an unknown authentication scheme: {challenge[:200] or 'no challenge given'}")

    def _fetch_token(self, challenge: oras.auth.utils.authHeader) -> str:
        """Fetch the token for a challenge (distribution, "Token Authentication" and "OAuth2 Token Authentication")."""
        realm = str(challenge.realm)
        known = self._known_to(realm)
        asked = {"service": challenge.service, "scope": challenge.scope}
        if known and known.identity_token:
            form = {"grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": known.identity_token, **asked}
            response = self._session.post(realm, data=form, allow_redirects=False, stream=True)
        else:
            account = (known.user, known.secret) if known else None
            response = self._session.get(realm, params=asked, auth=account, allow_redirects=False, stream=True)
        with response:
            return self._token_in(response, realm)

    def _known_to(self, realm: str) -> Credentials | None:
        """Return the credentials for a token service: those of its registry, else those stored for the service itself.

        Raises `StoreError` for a token service that is less private than the registry.
        """
        if urlsplit(realm).scheme not in ("https", urlsplit(self._origin).scheme):
            raise StoreError(f"{self._origin} requires credentials to be sent unencrypted to {realm[:200]!r}")
        if belongs_to(urlsplit(realm).hostname or "", urlsplit(self._origin).hostname or ""):
            return self._known
        return credentials.find(urlsplit(realm).netloc)

    def _token_in(self, response: requests.Response, realm: str) -> str:
        service = f"the token service {realm[:200]}"
        data = body(response, strict_json.MAX_SIZE + 1, self._timeout, decode=True)
        if response.status_code != 200:
            kind = _FAILURES.get(response.status_code, StoreError)
            raise kind(f"{service} answered {response.status_code}: {read_refusal(response, data).reason}")
        content = strict_json.load(data, service)
        token = content.get("token") or content.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise AuthorizationError(f"{service} returned no token")
        return token


def belongs_to(service: str, registry: str) -> bool:
    """Whether a token service belongs to the registry: the same host, its parent domain, or another host of that domain.

    So ``auth.docker.io`` belongs to ``registry-1.docker.io`` and ``gitlab.example`` to ``registry.gitlab.example``.
    """
    parent = registry.partition(".")[2]
    return service == registry or ("." in parent and (service == parent or service.endswith(f".{parent}")))


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False
