"""Registry credentials as Docker keeps them: ``config.json`` and credential helpers."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundler.errors import AuthorizationError

HUB_KEY = "https://index.docker.io/v1/"
"""Under which key Docker keeps the credentials of Docker Hub."""

_HELPER_TIMEOUT = 30


@dataclass(frozen=True)
class Credentials:
    """A user name and a secret; the secret is never shown."""

    user: str
    secret: str = field(repr=False)
    identity_token: str = field(default="", repr=False)


def config_file() -> Path:
    """Docker's client configuration, in ``$DOCKER_CONFIG`` or the home directory."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def find(registry: str) -> Credentials | None:
    """The credentials for a registry, or None; raises `AuthorizationError` when they are there but cannot be read."""
    config = _load()
    key = HUB_KEY if registry == "docker.io" else registry
    helper = _table(config, "credHelpers").get(registry) or config.get("credsStore")
    if helper and (found := _ask_helper(helper, key)):
        return found
    encoded = _table(_table(config, "auths"), key).get("auth")
    if not encoded:
        return None
    try:
        user, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError as error:
        raise AuthorizationError(f"the credentials for {registry} in {config_file()} are damaged", hint="Log in again.") from error
    return Credentials(user, secret.rstrip("\0"))


def describe() -> str:
    """In words, for which registries there are credentials; raises `AuthorizationError`."""
    config = _load()
    known = sorted({*_table(config, "auths"), *_table(config, "credHelpers")})
    return f"{config_file()}: {', '.join(known) or 'none'}" if config else f"none, there is no {config_file()}"


def _load() -> dict[str, Any]:
    try:
        content = json.loads(config_file().read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise AuthorizationError(f"{config_file()} cannot be read: {error}", hint="Mend or remove the file.") from error
    return content if isinstance(content, dict) else {}


def _table(config: dict[str, Any], name: str) -> dict[str, Any]:
    """An object in the configuration; where there is none, or something else, an empty one."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _ask_helper(helper: str, key: str) -> Credentials | None:
    """Run a credential helper (docker/docker-credential-helpers, protocol "get")."""
    program = f"docker-credential-{helper}"
    try:
        answer = subprocess.run([program, "get"], input=key.encode(), capture_output=True, timeout=_HELPER_TIMEOUT, check=False)
        if answer.returncode:
            return None
        content = json.loads(answer.stdout)
        return Credentials(content["Username"], content["Secret"])
    except (OSError, ValueError, LookupError, TypeError, subprocess.TimeoutExpired) as error:
        raise AuthorizationError(f"the credential helper {program} failed: {error}", hint="Run it by hand to see why.") from error
