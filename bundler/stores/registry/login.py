"""Whether a registry takes credentials."""

from __future__ import annotations

from bundler.errors import AuthorizationError, StoreError
from bundler.stores.registry.client import RegistryClient
from bundler.stores.registry.credentials import Credentials
from bundler.stores.registry.limits import Limits

_LIMITS = Limits(patience=0.02)
"""Somebody sits there and waits."""


def check_login(registry: str, given: Credentials, *, plain_http: bool = False) -> None:
    """Show a user name and a password to a registry, or to its token service.

    Raises `AuthorizationError` when they are refused. A registry that asks nobody who he is takes any.
    """
    client = RegistryClient(registry, plain_http=plain_http, limits=_LIMITS, known=given)
    try:
        answer = client.request("GET", client.url(""), registry, (200, 404))
    except AuthorizationError as error:
        hint = "Check the user name and the password."
        raise AuthorizationError(f"{registry} refused the user {given.user}: {error.message}", hint=hint) from error
    if answer.status_code == 404:
        raise StoreError(f"{registry} is no registry: it answered 404", hint="Check its name.")
