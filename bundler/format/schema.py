"""Validate documents by the JSON Schemas that other programs can use as well."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any

import jsonschema

from bundler.errors import IntegrityError
from bundler.format import strict_json


def load(data: bytes, name: str, what: str) -> dict[str, Any]:
    """Parse an untrusted document; raises `IntegrityError` when it breaks the schema of that name."""
    content = strict_json.load(data, what)
    if found := fault(content, name):
        raise IntegrityError(f"{what} breaks its schema at {found}")
    return content


def fault(content: Any, name: str) -> str:
    """Where and how a document breaks its schema, such as ``metadata.v1``; empty when it does not.

    It is the first error found, as looking for the best one among a hundred thousand takes too long.
    """
    error = next(_validator(name).iter_errors(content), None)
    return f"{error.json_path}: {error.message[:200]}" if error else ""


@lru_cache(maxsize=8)
def _validator(name: str) -> jsonschema.Draft202012Validator:
    schema = resources.files("bundler").joinpath("schemas", f"{name}.json").read_bytes()
    return jsonschema.Draft202012Validator(json.loads(schema))
