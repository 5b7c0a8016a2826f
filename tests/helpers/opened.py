"""Stores opened as the command line opens them."""

from __future__ import annotations

from bundler.cli.wiring import Link, open_store
from bundler.format import reference
from bundler.ports import Store


def store(name: str) -> Store:
    """The store that is written so."""
    return open_store(reference.parse(name), Link())
