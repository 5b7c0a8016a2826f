"""JSON that a stranger wrote: one strict way in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from bundler.errors import IntegrityError

MAX_SIZE = 4 << 20
"""Longest document in bytes: what registries and containers/image take for a manifest or config."""
MAX_DEPTH = 100
"""Deepest nesting that is read; serializers give up at some 250."""


def check_size(size: int, what: str) -> None:
    """Raises `IntegrityError` for a document of more bytes than are ever read into memory."""
    if size > MAX_SIZE:
        raise IntegrityError(f"{what} is longer than {MAX_SIZE} bytes")


def load(data: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object; raises `IntegrityError` where two parsers could read it differently, or one could choke."""
    check_size(len(data), what)
    try:
        content = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite)
        _check_depth(content)
    except RecursionError as error:
        raise IntegrityError(f"{what} is nested too deep") from error
    except ValueError as error:
        raise IntegrityError(f"{what} is no valid JSON: {str(error)[:200]}") from error
    if not isinstance(content, dict):
        raise IntegrityError(f"{what} is no JSON object")
    # Parsers in Go match keys without regard to case, so a twin of `layers` would be read instead of it.
    if len({key.casefold() for key in content}) != len(content):
        raise IntegrityError(f"{what} has two keys that differ in letter case alone")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("an object has the same key twice")
    return content


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise RecursionError


def _children(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _finite(text: str) -> float:
    """A number that is too large for a float would be written again as no JSON."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
