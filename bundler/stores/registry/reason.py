"""The reason for a refusal, as the registry or the token service words it."""

from __future__ import annotations

from typing import Any

import requests

from bundler.errors import BundlerError
from bundler.format import strict_json

_MOST_ERRORS = 3
_LONGEST = 300
_ELSEWHERE = ("message", "error_description", "error", "details", "detail")
"""Keys of the reason in answers that violate the specification."""
_ENOSPC = 28
"""The errno of a full disk on Linux; a storage driver of distribution puts it into the details."""


def refusal_reason(response: requests.Response, data: bytes) -> str:
    """Return the reason in a response body (distribution spec, "Error Codes"), else the reason phrase of its status."""
    content = _content(data)
    told = [_one(error) for error in _errors(content)[:_MOST_ERRORS]] or [_elsewhere(content)]
    if not content and response.headers.get("Content-Type", "").startswith("text/plain"):
        told = [" ".join(data.decode("utf-8", "replace").split())]
    return "; ".join(dict.fromkeys(filter(None, told)))[:_LONGEST] or response.reason or "no reason given"


def is_full(data: bytes) -> bool:
    """Whether a registry reports a full disk, by errno or by text."""
    return any(_has_errno(error) or "no space left" in _one(error) for error in _errors(_content(data)))


def _content(data: bytes) -> dict[str, Any]:
    try:
        return strict_json.load(data, "the answer")
    except BundlerError:
        return {}


def _errors(content: dict[str, Any]) -> list[dict[str, Any]]:
    found = content.get("errors")
    return [error for error in found if isinstance(error, dict)] if isinstance(found, list) else []


def _one(error: dict[str, Any]) -> str:
    code, message, detail = (_text(error.get(key)) for key in ("code", "message", "detail"))
    return ": ".join(filter(None, (code, message))) + (f" ({detail})" if detail else "")


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _elsewhere(content: dict[str, Any]) -> str:
    return next(filter(None, (_text(content.get(key)) for key in _ELSEWHERE)), "")


def _has_errno(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("Err") == _ENOSPC or any(map(_has_errno, value.values()))
    return False
