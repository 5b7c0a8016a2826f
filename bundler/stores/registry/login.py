"""Check credentials with a registry."""

from __future__ import annotations

from bundler.errors import AuthorizationError, StoreError
from bundler.stores.registry.client import RegistryClient
from bundler.stores.registry.credentials import Credentials
from bundler.stores.registry.limits import Limits

_LIMITS = Limits(patience=0.02)
"""Short waits, as login is interactive."""


def check_login(registry: str, given: Credentials, *, plain_http: bool = False) -> None:
    """Authenticate to a registry, or to its token service, with a user name and a password.

    Raises `AuthorizationError` when they are refused. A registry without authentication accepts any.
    """
    client = RegistryClient(registry, plain_http=plain_http, limits=_LIMITS, known=given)
    try:
        answer = client.request("GET", client.url(""), registry, (200, 404))
    except AuthorizationError as error:
        hint = "Check the user name and the password."
        raise AuthorizationError(f"{registry} refused the user {given.user}: {error.message}", hint=hint) from error
    if answer.status_code == 404:
        raise StoreError(f"{registry} is not a registry: it answered 404", hint="Check its name.")
