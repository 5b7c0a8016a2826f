"""Docker credential helpers (docker/docker-credential-helpers, "Development")."""

from __future__ import annotations

import json
import subprocess

from bundler.errors import AuthorizationError

_TIMEOUT = 30


def get(helper: str, key: str) -> tuple[str, str] | None:
    """Return the user name and the secret that a helper has for a registry.

    As in Docker, a failing helper counts as having none: the messages for an unknown registry differ.
    """
    answer = _run(helper, "get", key.encode())
    if answer.returncode:
        return None
    try:
        content = json.loads(answer.stdout)
        user, secret = content["Username"], content["Secret"]
    except (ValueError, LookupError, TypeError):
        user = secret = None
    if not isinstance(user, str) or not isinstance(secret, str):
        raise _failed(helper, "get", "invalid answer")
    return user, secret


def store(helper: str, key: str, user: str, secret: str) -> None:
    content = json.dumps({"ServerURL": key, "Username": user, "Secret": secret})
    _must(helper, "store", content.encode())


def erase(helper: str, key: str) -> None:
    _must(helper, "erase", key.encode())


def program(helper: str) -> str:
    return f"docker-credential-{helper}"


def _must(helper: str, action: str, data: bytes) -> None:
    if code := _run(helper, action, data).returncode:
        raise _failed(helper, action, f"exit code {code}")


def _run(helper: str, action: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run([program(helper), action], input=data, capture_output=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise _failed(helper, action, f"no answer in {_TIMEOUT} s") from None
    except OSError as error:
        raise _failed(helper, action, error.strerror or str(error)) from error


def _failed(helper: str, action: str, why: str) -> AuthorizationError:
    """Return the error; it never quotes the helper's output, which may be the secret."""
    name = program(helper)
    return AuthorizationError(
        f"the credential helper {name} failed at {action!r}: {why}", hint=f"Run it by hand to see why: {name} list"
    )
