"""Registry credentials as Docker stores them: in ``config.json``, or in credential helpers."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundler.errors import AuthorizationError
from bundler.stores.registry import credential_helper, docker_config

HUB_KEY = "https://index.docker.io/v1/"
"""Docker's key for the credentials of Docker Hub."""

_HUB_HOSTS = ("docker.io", "index.docker.io", "registry-1.docker.io")
_TOKEN_USER = "<token>"  # noqa: S105 - a name, not a secret  # nosec B105
"""The user name under which a helper stores an identity token."""


@dataclass(frozen=True)
class Credentials:
    """A user name and a secret, or an identity token (an OAuth 2 refresh token); the secrets are never shown."""

    user: str
    secret: str = field(repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Kept:
    """Where credentials were stored: in a helper, or unencrypted (``plain``) in a file."""

    where: str
    plain: bool


def config_file() -> Path:
    """Return the path of Docker's client configuration."""
    return docker_config.path()


def find(registry: str) -> Credentials | None:
    """Return the credentials for a registry, or None; raises `AuthorizationError` for unreadable ones."""
    config = docker_config.load()
    if (helper := _helper(config, registry)) and (found := _ask(helper, registry)):
        return found
    auths = docker_config.table(config, "auths")
    read = (_read(docker_config.table(auths, key), registry) for key in _keys(auths, registry))
    return next((found for found in read if found), None)


def store(registry: str, credentials: Credentials) -> Kept:
    """Store credentials as Docker does: in the helper configured for the registry, else in ``config.json``.

    The rest of the file is unchanged. With a helper the registry's entry in the file is empty, so that Docker can log
    out of it.
    """
    with docker_config.changing() as config:
        auths = docker_config.writable_table(config, "auths")
        helper = _helper(config, registry)
        if helper:
            credential_helper.store(helper, _key(registry), *_pair(credentials))
        auths[_key(registry)] = {} if helper else _entry(credentials)
    return Kept(credential_helper.program(helper) if helper else str(config_file()), plain=not helper)


def erase(registry: str) -> bool:
    """Remove the credentials for a registry, in all spellings; returns whether there were any."""
    with docker_config.changing() as config:
        helper = _helper(config, registry)
        in_helper = bool(helper and _ask(helper, registry))
        if in_helper:
            credential_helper.erase(helper, _key(registry))
        auths = docker_config.table(config, "auths")
        entries = [auths.pop(key) for key in list(_keys(auths, registry))]
    return in_helper or any(entries)


def describe() -> str:
    """Describe for which registries there are credentials; raises `AuthorizationError`."""
    config = docker_config.load()
    known = sorted({*docker_config.table(config, "auths"), *docker_config.table(config, "credHelpers")})
    return f"{config_file()}: {', '.join(known) or 'none'}" if config else f"none, there is no {config_file()}"


def _key(registry: str) -> str:
    """Return the key that Docker looks up first."""
    return HUB_KEY if registry in _HUB_HOSTS else registry


def _keys(table: dict[str, Any], registry: str) -> Iterator[str]:
    """Yield the keys of a table for a registry: the exact key first, then its other spellings."""
    exact = _key(registry)
    yield from (key for key in table if key == exact)
    yield from (key for key in table if key != exact and _host(key) == _host(exact))


def _host(key: str) -> str:
    """Return the host of a key, which may be a URL (docker/cli, cli/config/credentials, ``ConvertToHostname``)."""
    host = key.rpartition("://")[2].partition("/")[0]
    return "docker.io" if host in _HUB_HOSTS else host


def _helper(config: dict[str, Any], registry: str) -> str:
    """Return the helper for a registry, if any; an empty entry disables the general helper."""
    helpers = docker_config.table(config, "credHelpers")
    own = next(_keys(helpers, registry), None)
    return str((config.get("credsStore") if own is None else helpers[own]) or "")


def _ask(helper: str, registry: str) -> Credentials | None:
    user, secret = credential_helper.get(helper, _key(registry)) or ("", "")
    if user == _TOKEN_USER:
        return Credentials("", "", secret)
    return Credentials(user, secret) if user or secret else None


def _pair(credentials: Credentials) -> tuple[str, str]:
    token = credentials.identity_token
    return (_TOKEN_USER, token) if token else (credentials.user, credentials.secret)


def _read(entry: dict[str, Any], registry: str) -> Credentials | None:
    if token := entry.get("identitytoken"):
        return Credentials("", "", str(token))
    if not entry.get("auth"):
        return None
    try:
        user, secret = base64.b64decode(entry["auth"], validate=True).decode().split(":", 1)
    except (ValueError, TypeError):
        # Without the cause, which quotes bytes of the secret.
        raise AuthorizationError(
            f"the credentials for {registry} in {config_file()} are damaged", hint=f"Log in again: fps-bundle login {registry}"
        ) from None
    return Credentials(user, secret.rstrip("\0"))


def _entry(credentials: Credentials) -> dict[str, str]:
    if credentials.identity_token:
        return {"identitytoken": credentials.identity_token}
    return {"auth": base64.b64encode(f"{credentials.user}:{credentials.secret}".encode()).decode()}
