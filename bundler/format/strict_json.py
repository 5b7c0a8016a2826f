"""JSON that a stranger wrote: one strict way in."""

from __future__ import annotations

import json
import math
from collections.abc import Set
from typing import Any, NoReturn

from bundler.errors import IntegrityError

MAX_SIZE = 4 << 20
"""Longest document in bytes: what registries and containers/image take for a manifest or config."""
MAX_DEPTH = 100
"""Deepest nesting that is read; serializers give up at some 250."""
MAX_VALUES = 400_000
"""Most values in one document, so that checking it against a schema takes seconds at most."""

_MAPS = frozenset({"annotations", "ExposedPorts", "Labels", "Volumes"})
"""Objects whose keys are data, so that every parser tells them apart by letter case."""


def check_size(size: int, what: str) -> None:
    """Raises `IntegrityError` for a document of more bytes than are ever read into memory."""
    if size > MAX_SIZE:
        raise IntegrityError(f"{what} is longer than {MAX_SIZE} bytes")


def load(data: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object; raises `IntegrityError` where two parsers could read it differently, or one could choke."""
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
    """Raises ``ValueError`` or ``RecursionError`` for values that are not read, though each could be written as JSON."""
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
    """Raises `IntegrityError` for a key that parsers in Go would take for a ``known`` one, as they do not mind letter case."""
    if strange := [key for key in content if key not in known and key.casefold() in {name.casefold() for name in known}]:
        raise IntegrityError(f"{what} has a key {strange[0]!r} that only some parsers understand")


def _children(key: str, value: Any) -> list[tuple[str, Any]]:
    """What is in a value, under which keys; an item of a list has the key of the list."""
    if isinstance(value, str):
        value.encode("utf-8")  # raises for half a surrogate pair, which can be neither printed nor stored
    if isinstance(value, dict):
        _check_keys(key, value)
        return list(value.items())
    return [(key, item) for item in value] if isinstance(value, list) else []


def _check_keys(name: str, content: dict[str, Any]) -> None:
    """Parsers in Go match keys without regard to case, so a twin of ``layers`` would be read instead of it."""
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
    """A number that is too large for a float would be written again as no JSON."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
