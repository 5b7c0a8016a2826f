"""``trust.toml``: the policy of this host and of its user."""

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
    """Return the paths of the policy files; a key of a later file replaces that of an earlier one."""
    return SYSTEM_FILE, platformdirs.user_config_path("fps-bundle") / "trust.toml"


def load(paths: Iterable[Path], allowed_signers: Path | None = None, revoked: Path | None = None) -> Policy:
    """Return the policy of these files; ``allowed_signers`` and ``revoked`` replace what the files name.

    Raises `TrustError` for a file that cannot be parsed, because it may contain a rule that must not be skipped.
    """
    policy, narrowed = Policy(), False
    for path in paths:
        values = _read(path)
        policy, narrowed = replace(policy, **values), narrowed or bool({"minimum", "may_sign", "revoked"} & values.keys())
    policy = replace(policy, allowed_signers=allowed_signers or policy.allowed_signers, revoked=revoked or policy.revoked)
    if policy.allowed_signers is None and (narrowed or revoked):
        raise TrustError(
            "the policy has rules for signatures, but no allowed signers",
            hint=f"Set allowed-signers in {SYSTEM_FILE}, or use --allowed-signers.",
        )
    return policy


def content(path: Path | None, what: str) -> bytes | None:
    """Return the content of a file that a policy names; ``what`` names the file in errors."""
    if path is None:
        return None
    try:
        return private_file.read(path, what)
    except FileNotFoundError:
        raise TrustError(f"{what} {path} is missing", hint="Create it, or name another file.") from None


def _read(path: Path) -> dict[str, Any]:
    """Return the fields of a `Policy` that a file sets; none when there is no file."""
    try:
        text = private_file.read(path, "the policy")
    except FileNotFoundError:
        return {}
    try:
        content = tomllib.loads(text.decode())
        return dict(_KEYS[key](value, path.parent) for key, value in content.items())
    except KeyError as error:
        raise TrustError(f"{path}: unknown key {error}", hint=f"Use only these keys: {', '.join(_KEYS)}.") from None
    except ValueError as error:  # of TOML, of UTF-8, and ours
        raise TrustError(
            f"{path} cannot be parsed: {error}", hint="Compare it with the example in docs/user/security.md."
        ) from error


def _path(value: object, beside: Path) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a path")
    return beside / private_file.expanded(value)


def _minimum(value: object, _: Path) -> tuple[str, int]:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"minimum-signatures is {value!r}, not an integer of at least 1")
    return "minimum", value


def _may_sign(value: object, _: Path) -> tuple[str, Mapping[str, tuple[str, ...]]]:
    if not isinstance(value, dict):
        raise ValueError("may-sign is not a table")
    for principal, titles in value.items():
        if not isinstance(titles, list) or not all(isinstance(title, str) for title in titles):
            raise ValueError(f"the titles that {principal!r} may sign are not a list of globs")
    return "may_sign", {principal: tuple(titles) for principal, titles in value.items()}


_KEYS: dict[str, Callable[[object, Path], tuple[str, Any]]] = {
    "allowed-signers": lambda value, beside: ("allowed_signers", _path(value, beside)),
    "revoked": lambda value, beside: ("revoked", _path(value, beside)),
    "minimum-signatures": _minimum,
    "may-sign": _may_sign,
    "signing-key": lambda value, beside: ("signing_key", _path(value, beside)),
}
