"""The reason for a refusal, as the registry or the token service words it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests

from bundler.errors import BundlerError
from bundler.format import strict_json

_MOST_ERRORS = 3
_LONGEST = 300
_NONSTANDARD_KEYS = ("message", "error_description", "error", "details", "detail")
"""Keys of the reason in answers that violate the specification."""
_ENOSPC = 28
"""The errno of a full disk on Linux; a storage driver of distribution puts it into the details."""


@dataclass(frozen=True)
class Refusal:
    """A refused request: its reason, and whether the registry reports a full disk, by errno or by text."""

    reason: str
    is_disk_full: bool


def read_refusal(response: requests.Response, data: bytes) -> Refusal:
    """Read a response body (distribution spec, "Error Codes"); without a reason in it the status has one."""
    content = _content(data)
    errors = _errors(content)
    reasons = [_described(error) for error in errors[:_MOST_ERRORS]] or [_nonstandard_reason(content)]
    if not content and response.headers.get("Content-Type", "").startswith("text/plain"):
        reasons = [" ".join(data.decode("utf-8", "replace").split())]
    reason = "; ".join(dict.fromkeys(filter(None, reasons)))[:_LONGEST] or response.reason or "no reason given"
    return Refusal(reason, any(_has_errno(error) or "no space left" in _described(error) for error in errors))


def _content(data: bytes) -> dict[str, Any]:
    try:
        return strict_json.load(data, "the answer")
    except BundlerError:
        return {}


def _errors(content: dict[str, Any]) -> list[dict[str, Any]]:
    found = content.get("errors")
    return [error for error in found if isinstance(error, dict)] if isinstance(found, list) else []


def _described(error: dict[str, Any]) -> str:
    code, message, detail = (_text(error.get(key)) for key in ("code", "message", "detail"))
    return ": ".join(filter(None, (code, message))) + (f" ({detail})" if detail else "")


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _nonstandard_reason(content: dict[str, Any]) -> str:
    return next(filter(None, (_text(content.get(key)) for key in _NONSTANDARD_KEYS)), "")


def _has_errno(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("Err") == _ENOSPC or any(map(_has_errno, value.values()))
    return False
