"""Who we are to a registry: Basic, or Bearer with tokens of a token service (distribution spec, "Authentication")."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

import oras.auth
import oras.auth.utils
import requests

from bundler.errors import AuthorizationError, StoreError
from bundler.format import document
from bundler.stores import credentials
from bundler.stores.credentials import Credentials
from bundler.stores.receiving import body
from bundler.stores.retry import RETRIED, TransientError

CLIENT_ID = "fps-bundle"
_LONGEST_REASON = 1 << 16


class RegistryAuth(oras.auth.TokenAuth):  # type: ignore[misc]
    """Answers the challenges of one registry, ``SCHEME://HOST``, and of nobody else.

    oras asks it when a request got 401 or 403, and sends that request once more. What it answers is
    remembered for the next requests, and found anew when that is refused, as tokens expire. Several threads
    may ask at once: what one was answered is the others' only after its own request was sent, as a token may be
    good for one request alone.
    """

    def __init__(self, origin: str, known: Credentials | None, timeout: float) -> None:
        super().__init__()
        self._origin = origin
        self._known = known
        self._timeout = timeout
        self._fresh = threading.local()
        self.token = ""  # none yet; with None, oras would never ask for the header  # nosec B105

    def get_auth_header(self) -> dict[str, str]:
        self.token = self._fresh.__dict__.pop("answer", self.token)
        return {"Authorization": self.token} if self.token else {}

    def authenticate_request(
        self, original: requests.Response, headers: dict[str, str] | None, refresh: bool = False
    ) -> tuple[dict[str, str], bool]:
        del refresh  # what was refused once is never sent again
        body(original, _LONGEST_REASON, self._timeout)  # so that the connection can be used again
        original.close()
        if origin_of(original.url) != self._origin:
            raise StoreError(f"{self._origin} sends us on to {origin_of(original.url)}, which wants to know who we are")
        challenge = original.headers.get("WWW-Authenticate", "")
        if original.status_code == 403 and not challenge:
            return headers or {}, False
        self._fresh.answer = self._answer(challenge)
        return {**(headers or {}), "Authorization": self._fresh.answer}, True

    def _answer(self, challenge: str) -> str:
        scheme = challenge.partition(" ")[0].lower()
        if scheme == "basic":
            if not self._known or not self._known.user:
                raise AuthorizationError(f"{self._origin} wants a user name and a password")
            return f"Basic {oras.auth.utils.get_basic_auth(self._known.user, self._known.secret)}"
        asked = oras.auth.utils.parse_auth_header(challenge)
        if scheme == "bearer" and _is_web_address(asked.realm or ""):
            return f"Bearer {self._fetch_token(asked)}"
        raise StoreError(
            f"{self._origin} asks for credentials in a way that is not known here: {challenge[:200] or 'it says no more'}"
        )

    def _fetch_token(self, challenge: oras.auth.utils.authHeader) -> str:
        """A token for what the challenge asks (distribution, "Token Authentication" and "OAuth2 Token Authentication")."""
        realm = str(challenge.realm)
        known = self._known_to(realm)
        asked = {"service": challenge.service, "scope": challenge.scope}
        if known and known.identity_token:
            form = {"grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": known.identity_token, **asked}
            response = self.session.post(realm, data=form, allow_redirects=False, stream=True)
        else:
            account = (known.user, known.secret) if known else None
            response = self.session.get(realm, params=asked, auth=account, allow_redirects=False, stream=True)
        with response:
            return self._token_in(response, realm)

    def _known_to(self, realm: str) -> Credentials | None:
        """The credentials that a token service may see: ours for the registry when it belongs to it, else its own.

        Raises `StoreError` for a token service that is less private than the registry.
        """
        if urlsplit(realm).scheme not in ("https", urlsplit(self._origin).scheme):
            raise StoreError(f"{self._origin} wants credentials to go unencrypted to {realm[:200]!r}")
        if belongs_to(urlsplit(realm).hostname or "", urlsplit(self._origin).hostname or ""):
            return self._known
        return credentials.find(urlsplit(realm).netloc)

    def _token_in(self, response: requests.Response, realm: str) -> str:
        service = f"the token service {realm[:200]}"
        if response.status_code in (400, 401, 403):
            raise AuthorizationError(f"{service} refused us with {response.status_code}")
        if response.status_code in RETRIED:
            raise TransientError(f"{service} answered {response.status_code}")
        if response.status_code != 200:
            raise StoreError(f"{service} answered {response.status_code}")
        content = document.load(body(response, document.MAX_SIZE + 1, self._timeout, decode=True), service)
        token = content.get("token") or content.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise AuthorizationError(f"{service} gave no token")
        return token


def origin_of(url: str) -> str:
    """Scheme and host of a URL, which credentials belong to (RFC 6454)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def belongs_to(service: str, registry: str) -> bool:
    """Whether a token service is the registry's own: the same host, its parent domain, or a neighbour below that.

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
