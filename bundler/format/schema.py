"""The JSON Schemas of our documents, which other programs may check them by."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any

import jsonschema

from bundler.errors import IntegrityError
from bundler.format import document


@lru_cache(maxsize=8)
def validator(name: str) -> jsonschema.Draft202012Validator:
    """The schema of a document, such as ``metadata.v1``."""
    schema = resources.files("bundler").joinpath("schemas", f"{name}.json").read_bytes()
    return jsonschema.Draft202012Validator(json.loads(schema))


def load(data: bytes, name: str, what: str) -> dict[str, Any]:
    """Parse a document that a stranger wrote; raises `IntegrityError` when it breaks its schema."""
    content = document.load(data, what)
    try:
        validator(name).validate(content)
    except jsonschema.ValidationError as error:
        raise IntegrityError(f"{what} breaks its schema at {error.json_path}: {error.message[:200]}") from error
    return content
