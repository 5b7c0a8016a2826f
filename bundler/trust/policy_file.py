"""``trust.toml``: whom this host believes, for all of its users and for each."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import platformdirs

from bundler.errors import TrustError
from bundler.localfs import private_file
from bundler.trust.policy import Policy

SYSTEM_FILE = Path("/etc/fps-bundle/trust.toml")


def files() -> tuple[Path, ...]:
    """Where policies stand; a key of a later one takes the place of that of an earlier one."""
    return SYSTEM_FILE, platformdirs.user_config_path("fps-bundle") / "trust.toml"


def load(paths: Iterable[Path], allowed_signers: Path | None = None, revoked: Path | None = None) -> Policy:
    """The policy of these files, in which the command line's own files come first.

    Raises `TrustError` for a file that cannot be understood, as it may say what nobody must pass over.
    """
    policy, narrowed = Policy(), False
    for path in paths:
        values = _read(path)
        policy, narrowed = replace(policy, **values), narrowed or bool({"minimum", "may_sign", "revoked"} & values.keys())
    policy = replace(policy, allowed_signers=allowed_signers or policy.allowed_signers, revoked=revoked or policy.revoked)
    if policy.allowed_signers is None and (narrowed or revoked):
        raise TrustError(
            "there are rules for signatures, but no allowed signers",
            hint=f"Name them in {SYSTEM_FILE}, or with --allowed-signers.",
        )
    return policy


def content(path: Path | None, what: str) -> bytes | None:
    """What a file says that a policy names."""
    if path is None:
        return None
    try:
        return private_file.read(path, what)
    except FileNotFoundError:
        raise TrustError(f"{what} {path} is missing", hint="Put it there, or name another one.") from None


def _read(path: Path) -> dict[str, Any]:
    """The fields of a `Policy` that a file sets; none where there is no file."""
    try:
        text = private_file.read(path, "the policy")
    except FileNotFoundError:
        return {}
    try:
        found = tomllib.loads(text.decode())
        return dict(_KEYS[key](value, path.parent) for key, value in found.items())
    except KeyError as error:
        raise TrustError(f"{path} has the key {error}, which means nothing here", hint=f"It knows: {', '.join(_KEYS)}.") from None
    except ValueError as error:  # of TOML, of UTF-8, and ours
        raise TrustError(f"{path} cannot be understood: {error}", hint="docs/user/security.md shows one.") from error


def _path(value: object, beside: Path) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no path")
    return beside / private_file.expanded(value)


def _minimum(value: object, _: Path) -> tuple[str, int]:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"minimum-signatures is {value!r}, not a number from 1 on")
    return "minimum", value


def _may_sign(value: object, _: Path) -> tuple[str, Mapping[str, tuple[str, ...]]]:
    if not isinstance(value, dict):
        raise ValueError("may-sign is no table")
    for principal, titles in value.items():
        if not isinstance(titles, list) or not all(isinstance(title, str) for title in titles):
            raise ValueError(f"the titles that {principal!r} may sign are no list of globs")
    return "may_sign", {principal: tuple(titles) for principal, titles in value.items()}


_KEYS: dict[str, Callable[[object, Path], tuple[str, Any]]] = {
    "allowed-signers": lambda value, beside: ("allowed_signers", _path(value, beside)),
    "revoked": lambda value, beside: ("revoked", _path(value, beside)),
    "minimum-signatures": _minimum,
    "may-sign": _may_sign,
    "signing-key": lambda value, beside: ("signing_key", _path(value, beside)),
}
