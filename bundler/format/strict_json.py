"""Strict JSON: parse untrusted documents, and refuse what parsers could read differently."""

from __future__ import annotations

import json
import math
from collections.abc import Set
from typing import Any, NoReturn

from bundler.errors import IntegrityError

MAX_SIZE = 4 << 20
"""Longest document in bytes: what registries and containers/image take for a manifest or config."""
MAX_DEPTH = 100
"""Deepest nesting that is read; serializers fail at about 250."""
MAX_VALUES = 400_000
"""Most values in one document, so that checking it against a schema takes seconds at most."""

_MAPS = frozenset({"annotations", "ExposedPorts", "Labels", "Volumes"})
"""Objects whose keys are data, in which every parser distinguishes letter case."""


def check_size(size: int, what: str) -> None:
    """Raise `IntegrityError` for a document that is too large to read into memory."""
    if size > MAX_SIZE:
        raise IntegrityError(f"{what} is longer than {MAX_SIZE} bytes")


def load(data: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object; raises `IntegrityError` where two parsers could read it differently, or one could fail."""
    check_size(len(data), what)
    try:
        content = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite)
        check(content)
    except RecursionError as error:
        raise IntegrityError(f"{what} is nested too deep") from error
    except ValueError as error:
        raise IntegrityError(f"{what} is no valid JSON: {str(error)[:200]}") from error
    if not isinstance(content, dict):
        raise IntegrityError(f"{what} is no JSON object")
    return content


def check(content: Any) -> None:
    """Raise ``ValueError`` or ``RecursionError`` for valid JSON that exceeds our limits."""
    level, count = [("", content)], 0
    for _ in range(MAX_DEPTH):
        count += sum(len(value) for _, value in level if isinstance(value, dict | list))
        if count > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES} values")
        level = [child for key, value in level for child in _children(key, value)]
        if not level:
            return
    raise RecursionError


def check_spelling(content: dict[str, Any], known: Set[str], what: str) -> None:
    """Raise `IntegrityError` for a key that equals a ``known`` one in Go parsers, which ignore letter case."""
    if strange := [key for key in content if key not in known and key.casefold() in {name.casefold() for name in known}]:
        raise IntegrityError(f"{what} has a key {strange[0]!r} that only some parsers understand")


def _children(key: str, value: Any) -> list[tuple[str, Any]]:
    """The children of a value with their keys; an item of a list has the key of the list."""
    if isinstance(value, str):
        value.encode("utf-8")  # raises for half a surrogate pair, which can be neither printed nor stored
    if isinstance(value, dict):
        _check_keys(key, value)
        return list(value.items())
    return [(key, item) for item in value] if isinstance(value, list) else []


def _check_keys(name: str, content: dict[str, Any]) -> None:
    """Refuse keys that differ only in letter case: Go parsers could read either one as ``layers``."""
    if name not in _MAPS and len({key.casefold() for key in content}) != len(content):
        raise ValueError("an object has two keys that differ in letter case alone")
    for key in content:
        key.encode("utf-8")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("an object has the same key twice")
    return content


def _finite(text: str) -> float:
    """Parse a float; one that is too large becomes infinity, which JSON cannot express."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
